"""`shotstream doctor`: what is there, what is missing, and what to do about it."""

import importlib.util
import json
import os
import re
import tomllib
from pathlib import Path

import jax
import pytest

import shotstream_jax
from shotstream_jax import doctor, load
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.extras import EXTRAS
from shotstream_jax.nn import attention

ROOT = Path(__file__).parents[1]
SECTIONS = ["versions", "devices", "computing", "storage", "extras", "shipped"]


def report() -> dict:
    return doctor.report_dict(doctor.examine())


def test_the_report_has_all_sections():
    found = report()
    assert list(found) == SECTIONS
    assert found["versions"]["shotstream-jax"]["value"].startswith(shotstream_jax.__version__)
    assert found["versions"]["jax"]["value"].startswith(jax.__version__)
    assert found["devices"]["jax"]["value"] == f"{len(jax.devices())} × cpu: cpu"
    assert re.fullmatch(r"[\d.]+ of [\d.]+ GiB free", found["storage"]["memory"]["value"])
    assert found["shipped"]["models"]["value"] == "tiny, tiny-teacher"


def test_json_is_the_same_report(capsys):
    doctor.main(["--json"])
    assert list(json.loads(capsys.readouterr().out)) == SECTIONS


def test_the_table_names_every_remedy(capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    doctor.main([])
    out = capsys.readouterr().out
    assert "missing (scores: cuts, charts): scenedetect, matplotlib" in out
    assert "→ pip install scenedetect-headless matplotlib" in out
    assert f"→ pip install 'jax[tpu]=={jax.__version__}'" in out
    assert f"→ pip install 'jax[cuda13]=={jax.__version__}'" in out


def test_extras_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert set(extras) == set(EXTRAS)
    for name, extra in EXTRAS.items():
        declared = re.sub(r">=[\d.]+", "", " ".join(extras[name]))
        assert extra.install in ("", declared)


@pytest.mark.parametrize("width, dtype", [(32, "float32"), (128, "bfloat16")])
def test_attention_is_the_one_that_the_models_use(monkeypatch, width, dtype):
    assert doctor.chosen_attention(width, dtype, "cpu") == f"tiled ({dtype})"
    form = "splash" if width == 128 else "exact"
    assert doctor.chosen_attention(width, dtype, "tpu") == f"{form} ({dtype})"
    monkeypatch.setenv(attention.FORM_VARIABLE, "exact")
    assert (
        doctor.chosen_attention(width, dtype, "cpu") == f"exact ({dtype}), by SHOTSTREAM_ATTENTION"
    )


def test_a_form_of_attention_that_cannot_be_used_is_said(monkeypatch, caplog):
    monkeypatch.setenv(attention.FORM_VARIABLE, "cudnn")
    assert doctor.chosen_attention(32, "float32", "cpu") == (
        "tiled (float32), as SHOTSTREAM_ATTENTION=cudnn does not fit"
    )
    attention.warn_of_unfit_form(32, "float32")
    assert caplog.messages == [
        "SHOTSTREAM_ATTENTION=cudnn does not fit this device (cpu) and model: tiled is used"
    ]
    monkeypatch.setenv(attention.FORM_VARIABLE, "bogus")
    found = report()["computing"]["attention of tiny"]
    assert "bogus is not a form of attention" in found["value"] and found["remedy"]
    with pytest.raises(InputError, match="bogus is not a form of attention"):
        load("tiny")


def test_an_accelerator_that_jax_does_not_use_has_a_remedy(monkeypatch):
    monkeypatch.setattr(os.path, "exists", lambda path: path == "/dev/nvidia0")
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    found = report()["devices"]
    assert found["gpu"]["remedy"].startswith("pip install 'jax[cuda13]==")
    assert "tpu" not in found


def test_no_device_at_all_is_reported(monkeypatch):
    def fail() -> list:
        raise RuntimeError("Unable to initialize backend 'cuda'\nand more")

    monkeypatch.setattr(jax, "devices", fail)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    found = report()
    assert found["devices"]["jax"] == {
        "value": "none: Unable to initialize backend 'cuda'",
        "remedy": "unset JAX_PLATFORMS=cuda",
    }


def test_a_cache_that_cannot_be_written_has_a_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("SHOTSTREAM_CACHE_DIR", str(tmp_path / "xla"))
    assert "remedy" not in report()["storage"]["compilation cache"]
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    entry = report()["storage"]["compilation cache"]
    assert entry["remedy"] == "set SHOTSTREAM_CACHE_DIR to another folder"
