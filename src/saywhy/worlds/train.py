"""``python -m saywhy.worlds.train``, as it was called before: the same as ``python -m saywhy.training.worlds``."""

from saywhy.training.worlds.recipes import main

if __name__ == "__main__":
    main()
