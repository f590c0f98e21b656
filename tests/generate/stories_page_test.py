"""The examples of docs/stories.md, run from top to bottom with the shipped model."""

import pathlib
import re

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).parents[2]


def test_the_examples_run(monkeypatch, tmp_path):
    page = (ROOT / "docs/stories.md").read_text("utf-8")
    for name in ("out/pieces.mp4", "film.safetensors", "out/stories.png"):
        page = page.replace(f'"{name}"', repr(str(tmp_path / pathlib.Path(name).name)))
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    names = {}
    monkeypatch.chdir(ROOT)
    exec(compile(code, "docs/stories.md", "exec"), names)
    # What the page says of it.
    record = names["after"].shots[-1]
    assert [cue.chunk for cue in record.cues] == [0, 1]
    assert record.caption == "The frog is sleeping in the meadow."
    remade = names["same"].story.shots[-1]
    assert np.array_equal(np.concatenate(remade.latents), np.concatenate(record.latents))
    assert names["opened"].next_shot == 1
    styled = names["in_style"].shots[-1]
    assert [use.strength for use in styled.styles] == [0.3]
    assert styled.cues[-1].strengths == {"film": 0.6}
    assert names["notes"].unknown == ("cooking",)
    assert "meadow" in names["known"]
    assert (tmp_path / "pieces.mp4").exists()
    with Image.open(tmp_path / "stories.png") as ours, Image.open("docs/stories.png") as shown:
        assert ours.size == shown.size
        # Other processors round otherwise; the pictures stay the same.
        difference = np.abs(np.asarray(ours, float) - np.asarray(shown, float))
    assert difference.mean() < 1
