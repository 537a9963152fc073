"""Learning visual prompts for CLIP, from rationales to categories (``saywhy train prompts``)."""
