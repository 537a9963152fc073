"""One sentence a picture: language models that write, how drafts are found, scored and filtered."""
