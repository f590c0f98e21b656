"""Scoring stories: a probe that reads what is in a shot, what follows from its readings, and figures for any video."""
