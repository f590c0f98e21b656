"""Clips of several shots: their tables, their pictures, and the latents that training reads."""
