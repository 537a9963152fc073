"""Where pictures and words meet: one file for each kind of space, and what they are made of."""
