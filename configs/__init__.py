"""Recipes. Every file with a get_config() is one; `--config NAME` finds it by the file's name.

The folder lies at the top of the repository and is installed as `shotstream_jax.configs`. Recipes
import each other, and the sections that they share, by that name.
"""
