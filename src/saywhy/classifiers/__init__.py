"""Who is asked: any image classifier, seen uniformly; its head, its layers, its evidence for each class."""
