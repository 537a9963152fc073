"""Making networks: classifiers, language models, visual prompts, the worlds' own."""
