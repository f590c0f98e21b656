"""The storyteller: a story told at a terminal, or by a script, line by line."""
