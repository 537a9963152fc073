"""Texts of all pairs of category and rationale: encoded, kept, scored, ranked."""
