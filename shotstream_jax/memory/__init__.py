"""The model's memory.

Which earlier frames it sees (select), and where their keys and values lie (window, cache).
"""
