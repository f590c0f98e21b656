"""The video transformer: one set of weights, a bidirectional teacher and a causal student."""
