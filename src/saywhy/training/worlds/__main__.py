"""``python -m saywhy.training.worlds``."""

from saywhy.training.worlds.recipes import main

main()
