"""``python -m saywhy``."""

from saywhy.cli import main

main()
