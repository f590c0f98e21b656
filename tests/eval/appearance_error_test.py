"""The error on hats, with others in the context."""

import json

import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.data.encode import load_encoders
from shotstream_jax.eval import appearance_error
from shotstream_jax.world.clothing_mask import clothing_mask, recolour_clothing
from shotstream_jax.world.plot import WorldConfig
from shotstream_jax.world.source import WorldSource
from tests.train.material import make_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("appearance") / "model")


def test_command(checkpoint, tmp_path):
    out = tmp_path / "appearance.json"
    appearance_error.main([f"--checkpoint={checkpoint}", "--stories=5", f"--out={out}"])
    result = json.loads(out.read_text())
    assert set(result) == {"own", "recoloured"}
    for own, other in zip(result["own"].values(), result["recoloured"].values(), strict=True):
        assert (
            own["clips"] == other["clips"] == 4
            and own["ratio"] == 1
            and own["error"] != other["error"]
        )
        assert other["ratio"] == pytest.approx(other["error"] / own["error"], rel=1e-6)


def arrays_of(row):
    conditions = row.conditions
    return {
        "target": row.target,
        "context": conditions.context,
        "phase": conditions.ids.phase,
        "caption": conditions.ids.caption,
        "text": conditions.text,
    }


def test_only_colours_of_the_context_differ(checkpoint):
    encoders = load_encoders(str(checkpoint), "float32")
    video = encoders.preset.video
    frames = encoders.preset.vae.pixel_frames(video.shot_frames)
    film = WorldSource(
        WorldConfig("simple", 8, (appearance_error.SHOTS,), (frames,)), video.height, video.width, 1
    )[0]
    target = appearance_error.make_target(encoders, film)
    others = arrays_of(target.recoloured)
    for name, own in arrays_of(target.own).items():
        assert np.array_equal(own, others[name]) == (name != "context"), name
    hats = clothing_mask(film, recolour_clothing(film))
    assert 0 < hats.mean() < 0.2 and target.hats.shape == target.own.target.shape[:3]
    first, stop = film.story.intervals[-1]
    assert target.hats.mean() == pytest.approx(
        hats[first:stop][1:].mean(), rel=0.2
    )  # the first frame has a cell alone


def test_mistakes(checkpoint, tmp_path):
    with pytest.raises(InputError, match="--stories 3: at least 4 are needed"):
        appearance_error.main(
            [f"--checkpoint={checkpoint}", "--stories=3", f"--out={tmp_path / 'a.json'}"]
        )
