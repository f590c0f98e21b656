"""Checkpoint folders: stored arrays, the folder, and a model loaded from one."""
