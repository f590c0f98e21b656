"""Files of eval side by side."""

import json

import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.eval import compare
from shotstream_jax.eval.report import as_json, summarise

STORIES, SHOTS = 12, 4


def write(folder, name, kept, **settings):
    """Stories that keep their appearances in a share `kept` of the shots, as eval writes them."""
    rng = np.random.default_rng(0)
    stories = [
        {
            "who": np.ones(SHOTS),
            "appearance": np.append(np.nan, (rng.random(SHOTS - 1) < kept).astype(float)),
        }
        for _ in range(STORIES)
    ]
    result = {
        "settings": {"stories": STORIES, "shots": SHOTS, "subset": "simple"} | settings,
        "figures": summarise(stories, {"appearance": 0.25}),
        "ceiling": {"appearance": {"mean": 0.97}},
        "stories": [{"captions": ["…"] * SHOTS} | story for story in stories],
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(as_json(result)))
    return str(path)


def test_a_row_a_file_and_a_chart(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    files = [write(tmp_path, "full", 1.0), write(tmp_path, "no_cache", 0.3)]
    compare.main([*files, "--figures=who,appearance", f"--chart={tmp_path / 'new' / 'chart.png'}"])
    head, _, full, without, chance, ceiling, chart = capsys.readouterr().out.splitlines()
    assert head == "|  | who | appearance |"
    assert full == "| full | 1.000 (1.000 to 1.000) | 1.000 (1.000 to 1.000) |"
    assert without.startswith("| no_cache | 1.000 (1.000 to 1.000) | 0.")
    assert (chance, ceiling) == ("| *chance* | – | 0.250 |", "| *ceiling* | – | 0.970 |")
    assert (
        chart.endswith("chart.png") and (tmp_path / "new" / "chart.png").read_bytes()[1:4] == b"PNG"
    )


def test_intervals_by_shot(tmp_path):
    found = compare.read_scores([write(tmp_path, "half", 0.5)], ["appearance"])["half"]
    shots = compare.intervals_by_shot(found, "appearance")
    assert shots.shape == (SHOTS, 3) and np.isnan(shots[0]).all()
    mean, low, high = shots[1:].T
    np.testing.assert_allclose(mean, found["figures"]["appearance"]["by_shot"][1:])
    assert (low < mean).all() and (mean < high).all()


def test_refuses_what_cannot_be_compared(tmp_path):
    file = write(tmp_path, "one", 1.0)
    cases = [
        ([str(tmp_path / "none.json")], "is not a file of"),
        ([__file__], "is not a file of"),
        ([file, file], "two files are called one"),
        ([file, write(tmp_path, "longer", 1.0, shots=20)], "made of different stories"),
        ([file, "--figures=hat"], "no figure hat; it has who, appearance"),
        ([file, "--figures=appearance", f"--chart={tmp_path / 'chart.jpg'}"], "must end in .png"),
    ]
    for options, complaint in cases:
        with pytest.raises(InputError, match=complaint):
            compare.main(["--figures=appearance", *options])
