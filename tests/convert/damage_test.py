"""Damaged files of every container: one line each or harmless; never a traceback or a hang."""

import numpy as np
import pytest

from tests.convert.damage import damaged_copies, read_everything, sound_files

KINDS = [
    "safetensors",
    "safetensors, scaled",
    "torch",
    "torch before 1.6",
    "gguf",
    "gguf, Q8_0",
]


@pytest.mark.filterwarnings("ignore:invalid escape")  # a damaged text in a pickle
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_one_line_or_harmless(tmp_path, kind):
    if kind == "gguf, Q8_0":
        pytest.importorskip("gguf")
    path = sound_files(tmp_path)[kind]
    assert read_everything(path) == "read"
    copies = damaged_copies(path.read_bytes(), np.random.default_rng(KINDS.index(kind)))
    outcomes = []
    for _ in range(80):
        damage, data = next(copies)
        path.write_bytes(data)
        try:
            outcomes.append(read_everything(path))
        except Exception as error:
            raise AssertionError(f"{kind}, {damage}: {type(error).__name__}: {error}") from error
    assert outcomes.count("one line") > 20
