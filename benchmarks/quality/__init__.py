"""How good the results of training are."""
