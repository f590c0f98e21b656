"""Public checkpoints ↔ our parameter trees."""
