"""Clips and their captions, encoded once before training."""
