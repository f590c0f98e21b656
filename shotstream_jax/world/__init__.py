"""A world of multi-shot stories that is drawn by code: films, captions, and the truth about every frame.

actions, wear, cast → who is drawn; places → where; camera → how it is seen; plot, captions → story; render → film;
source → grain. `python -m shotstream_jax.world` writes films as files.
"""
