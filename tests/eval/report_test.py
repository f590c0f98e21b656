"""Figures of many stories, as a table and as JSON."""

import dataclasses

import numpy as np
import pytest

from shotstream_jax.eval.report import as_json, cut_accuracy, summarise, summary_table
from tests.eval.material import story

NAN = np.nan
FIGURES = [
    {
        "who": np.array([1.0, 1.0, 0.0]),
        "appearance": np.array([NAN, 1.0, 0.0]),
        "camera": np.full(3, NAN),
        "sca": np.ones(1),
    },
    {
        "who": np.array([1.0, 0.0, 1.0]),
        "appearance": np.array([NAN, NAN, 0.0]),
        "camera": np.full(3, NAN),
        "sca": np.ones(1),
    },
]


def test_summary():
    summary = summarise(FIGURES, {"appearance": 0.2, "layout": 0.5})
    assert set(summary) == {"who", "appearance", "sca"}  # there is no camera to be judged
    assert summary["who"]["mean"] == pytest.approx(4 / 6) and summary["who"]["count"] == 6
    assert "chance" not in summary["who"] and summary["appearance"]["chance"] == 0.2
    np.testing.assert_allclose(summary["appearance"]["by_shot"], [NAN, 1, 0])
    assert summary["appearance"]["drift"]["mean"] == -1 and summary["who"]["drift"]["mean"] == 0
    assert "by_shot" not in summary["sca"]


def test_table():
    summary = summarise(FIGURES, {"appearance": 0.2})
    lines = summary_table(summary, {"appearance": {"mean": 0.9}})
    assert len(lines) == 4
    cells = next(line for line in lines if line.startswith("appearance")).split()
    assert cells[1] == "0.333" and cells[5:7] == ["0.200", "0.900"] and cells[7] == "-1.000"
    assert next(line for line in lines if line.startswith("sca")).split()[-4:] == ["–"] * 4
    assert len(summary_table(summary)) == 4


def test_json_has_null_for_what_could_not_be_judged():
    given = {"a": np.array([[1.0, NAN]]), "b": (np.float32(0.5), 3, "text"), 5: None}
    assert as_json(given) == {"a": [[1.0, None]], "b": [0.5, 3, "text"], "5": None}
    config = story().config
    assert as_json(config) == as_json(dataclasses.asdict(config))


def test_cuts_of_shots_of_any_length():
    pytest.importorskip("scenedetect")
    shots = [
        np.full((length, 16, 16, 3), value, np.uint8)
        for length, value in ((12, 0), (8, 255), (15, 40))
    ]
    assert cut_accuracy(shots) == [1.0]
    assert cut_accuracy([shots[0], shots[0]])[0] == pytest.approx(
        np.exp(-1 / 2)
    )  # nothing to be seen
