"""The losses of all stages: pure functions of parameters, a batch and its random draws."""
