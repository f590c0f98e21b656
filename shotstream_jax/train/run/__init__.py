"""A training run: the loop, its start, its log, its folder and its snapshots."""
