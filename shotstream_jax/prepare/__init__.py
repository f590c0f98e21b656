"""Films → cuts → groups of shots → captions → the table that precompute reads (docs/films.md)."""
