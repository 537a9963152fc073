"""Is it there? What may be said of a picture: calibrated probabilities, abstention, and the one gate for all words."""
