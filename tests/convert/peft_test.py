"""Adapters that PEFT wrote, merged: the values of PEFT's own merge_and_unload."""

import functools
import json
import pathlib

import numpy as np
import pytest
from safetensors.numpy import save_file

from shotstream_jax.convert.files import read_metadata, read_safetensors
from shotstream_jax.convert.lora.adapter import read_adapter
from shotstream_jax.convert.lora.merge import Weighted, merge_adapters, state_shapes
from shotstream_jax.convert.torch_io import write_torch
from tests.convert.make_peft_cases import CASES, make_cases

RECORDED = pathlib.Path(__file__).parent / "peft_cases.safetensors"


@functools.cache
def recorded() -> dict[str, np.ndarray]:
    return {name: np.asarray(array) for name, array in read_safetensors(RECORDED).items()}


def under(prefix: str) -> dict[str, np.ndarray]:
    """The recorded tensors whose names start so, without it."""
    return {
        name.removeprefix(prefix): array
        for name, array in recorded().items()
        if name.startswith(prefix)
    }


def check_merged(folder: pathlib.Path, base: dict, right: dict) -> None:
    """Merging changes what PEFT changed, to PEFT's values, and nothing else."""
    adapter = read_adapter(folder, state_shapes(base))
    merged = merge_adapters(base, [Weighted(adapter, 1.0)])
    assert list(merged) == list(base)
    for name, original in base.items():
        expected = right.get(name, original)
        np.testing.assert_allclose(
            np.asarray(merged[name]), expected, rtol=1e-5, atol=1e-5, err_msg=name
        )


@pytest.mark.parametrize("form", ["safetensors", "bin"])
@pytest.mark.parametrize("case", CASES)
def test_recorded_values(tmp_path, case, form):
    """Both of PEFT's file forms, and the settings beside them."""
    adapter, right = under(f"{case}/adapter/"), under(f"{case}/right/")
    assert adapter and right
    if form == "safetensors":
        save_file(adapter, tmp_path / "adapter_model.safetensors")
    else:
        write_torch(tmp_path / "adapter_model.bin", adapter)
    (tmp_path / "adapter_config.json").write_text(read_metadata(RECORDED)[case])
    check_merged(tmp_path, under("base/"), right)


def test_values_of_peft_itself(tmp_path):
    """Where it is installed: every case anew, in both file forms."""
    pytest.importorskip("torch")
    pytest.importorskip("peft")
    for safe_serialization in (True, False):
        folder = tmp_path / str(safe_serialization)
        right = make_cases(folder, safe_serialization=safe_serialization)
        base = right.pop("base")
        for case, changed in right.items():
            check_merged(folder / case, base, changed)
            settings = json.loads((folder / case / "adapter_config.json").read_text())
            assert settings["r"] == CASES[case]["r"]
