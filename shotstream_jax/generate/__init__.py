"""Streaming a story: one shot's steps, the story's memory, the drivers and the command line."""
