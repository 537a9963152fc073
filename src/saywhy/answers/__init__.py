"""What comes back, and how it shows itself: a record, its JSON, its figure, its page."""
