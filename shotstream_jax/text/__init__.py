"""From a typed prompt to embeddings: story scripts, cleaning, tokens, the text encoder."""
