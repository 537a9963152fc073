"""One sentence per picture: the language models that write it, and how drafts are found, scored and filtered."""
