"""Who is asked: any image classifier, behind one interface; its head, its layers, its evidence for each class."""
