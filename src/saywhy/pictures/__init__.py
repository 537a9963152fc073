"""What is asked about: any picture file, where its frame lies, data sets and their truth."""
