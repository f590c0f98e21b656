"""The causal video autoencoder: pixels to latents in pieces, latents to pixels as a stream."""
