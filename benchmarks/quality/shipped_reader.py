"""The shipped probe, as benchmarks of the miniature read its shots with it."""

from shotstream_jax.eval.labels import Labels
from shotstream_jax.eval.probe_files import SHIPPED, load_probe, shot_format_of
from shotstream_jax.eval.reading import Reader
from shotstream_jax.presets import Preset


def shipped_reader(preset: Preset) -> Reader:
    """A reader of the preset's shots, by the labels of the simple world."""
    labels = Labels("simple")
    shot_format = shot_format_of(preset, preset.video, labels.subset)
    return Reader(labels, load_probe(SHIPPED, shot_format))
