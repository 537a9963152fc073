"""The benchmark ``ecor``: right for the right reasons, with blind controls."""
