"""How many shots fit on a GPU at once."""

import pytest

from shotstream_jax.fit.card import Card
from shotstream_jax.fit.options import StreamOptions
from shotstream_jax.fit.sizes import stream_need
from shotstream_jax.generate.live import place_bytes
from shotstream_jax.serve.places import MOST_PLACES, fitting_places
from shotstream_jax.testing import tiny_model

MODEL = tiny_model()
VIDEO = MODEL.preset.video
OPTIONS = StreamOptions(dtype="float32")
NEED = stream_need(MODEL.preset, VIDEO, OPTIONS).total


@pytest.mark.parametrize(
    ("further", "places"),
    [(-5.0, 1), (0.0, 1), (0.99, 1), (1.0, 2), (2.5, 3), (3.0, MOST_PLACES), (99.0, MOST_PLACES)],
)
def test_further_places_are_those_that_fit_beside_one_story(further, places):
    memory = NEED + int(further * place_bytes(MODEL, VIDEO))
    assert fitting_places(MODEL, VIDEO, OPTIONS, Card("a GPU", memory, 9.0)) == places


def test_without_a_gpu_memory_is_no_limit():
    assert fitting_places(MODEL, VIDEO, OPTIONS, None) == MOST_PLACES
