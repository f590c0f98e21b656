"""Full-size models by shape only: every public parameter has its place, and formats are checked."""

import json
import pathlib

import flax
import jax
import pytest

from shotstream_jax.convert.names import check_table
from shotstream_jax.convert.tables import part_table
from shotstream_jax.core.errors import InputError
from shotstream_jax.model import abstract_params
from shotstream_jax.presets import VideoFormat, find_preset

MANIFEST = json.loads(
    (pathlib.Path(__file__).parent / "parity" / "data" / "manifest.json").read_text()
)
PUBLIC = [
    ("wan-1.3b", "dit", "Wan2.1-T2V-1.3B"),
    ("wan-14b", "dit", "Wan2.1-T2V-14B"),
    ("wan-1.3b", "vae", "Wan2.1_VAE.pth"),
    ("wan-1.3b", "text", "models_t5_umt5-xxl-enc-bf16.pth"),
]


@pytest.mark.parametrize("name, part, file", PUBLIC, ids=lambda v: v)
def test_parameters_are_the_public_ones(name, part, file):
    preset, table = find_preset(name), part_table(find_preset(name), part)
    assert table.shapes() == {
        key: tuple(shape) for key, shape in MANIFEST[file]["state_dict"].items()
    }
    abstract = abstract_params(preset, part)
    check_table(table, flax.traverse_util.flatten_dict(abstract))
    assert sum(leaf.size for leaf in jax.tree.leaves(abstract)) == MANIFEST[file]["num_params"]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"height": 100}, "height 100 is not a multiple of 16; try 96"),
        ({"width": 8}, "width 8 is not a multiple of 16; try 16"),
        ({"shot_frames": 20}, "20 latent frames is not a multiple of the chunk, 3; try 21"),
        ({"fps": 0}, "fps 0"),
    ],
)
def test_impossible_formats_name_the_remedy(change, message):
    with pytest.raises(InputError, match=message):
        find_preset("wan-1.3b").latent_grid(
            VideoFormat(**({"height": 480, "width": 832, "shot_frames": 21} | change))
        )


def test_formats_of_the_paper():
    preset = find_preset("wan-1.3b")
    assert preset.latent_grid(preset.video) == (60, 104)
    assert preset.dit.grid(60, 104) == (30, 52)
    assert preset.vae.pixel_frames(preset.video.shot_frames) == 81


def test_an_unknown_preset_names_the_known():
    with pytest.raises(InputError, match=r"wan-2b.*wan-1.3b"):
        find_preset("wan-2b")
