"""The model's memory: which earlier frames it sees (select), and where their keys and values lie (window, cache)."""
