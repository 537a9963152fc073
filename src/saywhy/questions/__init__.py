"""What can be asked of pictures: explain, why, ask, narrate, and the steps that they share."""
