"""``python -m saywhy``."""

from saywhy.cli.app import main

main()
