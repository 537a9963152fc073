"""What may be said: vocabularies, names of classes, categories with their rationales, captions."""
