"""Scores against known truth: doubly right answers, calibration, captions, sentences, zero-shot classes."""
