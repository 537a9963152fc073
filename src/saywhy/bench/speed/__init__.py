"""Benchmarks of time and memory, each a ratio against a baseline of the same run."""
