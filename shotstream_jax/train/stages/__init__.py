"""The stages of training, named as their recipes."""
