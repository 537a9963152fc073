"""A classifier's activations inside CLIP: channels matched, and put in each other's place."""
