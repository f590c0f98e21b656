"""The storyboard: stories over HTTP, written while they play (docs/serving.md).

A story is a tree of immutable shots in an append-only folder (board, store). One thread drives the
device (device), one makes chunk files of its pictures (filming), viewers are cursors (live), and
the commands of people and programs come in over REST (app).
"""
