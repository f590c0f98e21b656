"""Building blocks that the transformer, the text encoder and the autoencoder share."""
