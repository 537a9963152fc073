"""Training the embedded worlds' models: ``python -m saywhy.training.worlds``."""
