"""Scores of videos of any origin: the paper's nine figures, and others that need no weights."""
