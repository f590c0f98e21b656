"""Scores of stories: a probe that reads what is in a shot, and figures."""
