"""`shotstream plan`: what it prints for which GPU, and how `generate` follows it."""

import json
import logging
import os
import pathlib
import re
import subprocess
import sys

import jax
import pytest

from shotstream_jax import plan
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.gpu_memory import claim_gpu_memory, memory_errors
from shotstream_jax.fit import card as cards
from shotstream_jax.fit.card import GIB, Card
from shotstream_jax.fit.options import SAVERS, StreamOptions, savings, words
from shotstream_jax.generate import __main__ as generate
from shotstream_jax.generate import recipe as recipes
from shotstream_jax.generate.recipe import options_for_this_gpu
from shotstream_jax.presets import find_preset

WAN = find_preset("wan-1.3b")
VARIABLE = "XLA_PYTHON_CLIENT_MEM_FRACTION"


def printed(capsys, *words: str) -> str:
    plan.main(words)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("gpu", "added"),
    [
        ("24", "--config.text_memory=host"),
        ("rtx4090", "--config.text_memory=host"),
        ("16", "--config.decode_frames=1 --config.text_memory=host"),
        ("12", "--config.cache_dtype=int8 --config.decode_frames=1 --config.text_memory=host"),
    ],
)
def test_the_cheapest_that_fits(gpu, added, capsys):
    """And with these words added, it fits as it is."""
    out = printed(capsys, "--gpu", gpu)
    assert out.endswith(f"to fit, add: {added}\n")
    assert "(too much, fits)" in out
    again = printed(capsys, "--gpu", gpu, *added.split())
    assert again.endswith("it fits as it is\n")


def test_the_sum_is_that_of_the_lines(capsys):
    out = printed(capsys, "--gpu", "h100")
    assert "75.15 GiB for us" in out and "it fits as it is" in out
    *parts, total = [float(n) for n in re.findall(r"^  .*?\s(\d+\.\d\d)\b", out, re.M)]
    assert len(parts) == 8 and sum(parts) == pytest.approx(total, abs=0.04)


def test_the_largest_picture_where_nothing_fits(capsys):
    out = printed(capsys, "--gpu", "8")
    assert "no options fit 480×832" in out
    height, width = map(int, re.findall(r"video\.(?:height|width)=(\d+)", out))
    added = out.splitlines()[-1].removeprefix("to fit, add: ").split()
    assert printed(capsys, "--gpu", "8", *added).endswith("it fits as it is\n")
    # The next larger picture does not.
    larger = [f"--config.video.height={height + 16}", f"--config.video.width={width + 32}"]
    assert "no options fit" in printed(capsys, "--gpu", "8", *added[:-2], *larger)


def test_the_type_is_the_gpus(capsys):
    assert "tiny, 32×48, bfloat16" in printed(capsys, "--config", "tiny", "--gpu", "12")


def test_a_smaller_decoder_is_held_beside_the_autoencoder(capsys):
    out = printed(capsys, "--gpu", "h100", "--config.decoder=taehv")
    assert re.search(r"^  autoencoder +0\.24$", out, re.M)
    assert re.search(r"^  taehv +0\.02$", out, re.M)


def test_no_picture_fits(capsys):
    assert "no picture fits" in printed(capsys, "--gpu", "2")


@pytest.mark.parametrize("gpu", ["rtx9999", "-3", "nan", "0"])
def test_a_gpu_that_is_not_known(gpu):
    with pytest.raises(InputError, match=r"write the GB .* 24, or one of a100, .*rtx4070"):
        plan.main(["--gpu", gpu])


def test_no_gpu_here():
    with pytest.raises(InputError, match="this machine has no GPU: name one with --gpu"):
        plan.main([])


def test_savings_come_by_cost_and_leave_what_was_chosen():
    found = list(savings(StreamOptions(cache_dtype="fp8")))
    assert len(found) == 2 ** (len(SAVERS) - 1)
    assert {options.cache_dtype for options in found} == {"fp8"}
    # What changes no number comes first.
    assert [words(options, found[0]) for options in found[:4]] == [
        "",
        "--config.decode_frames=1",
        "--config.text_memory=host",
        "--config.decode_frames=1 --config.text_memory=host",
    ]


class Gpu:
    """A GPU of this machine, as jax would show it."""

    platform = "gpu"
    device_kind = "NVIDIA GeForce RTX 4090"
    compute_capability = "8.9"

    def memory_stats(self) -> dict[str, int]:
        return {"bytes_limit": 18 * GIB}


def test_this_machines_gpu_has_what_jax_may_have_of_it(monkeypatch, capsys):
    """Less than the card: another process, or the user, has taken a part."""
    monkeypatch.setattr(cards.jax, "devices", lambda: [Gpu()])
    assert "RTX 4090, 18.00 GiB for us" in printed(capsys)


def test_auto_chooses_and_says_so(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(recipes, "this_card", lambda: Card("a card", 12 * GIB, 8.9))
    found = options_for_this_gpu(WAN, WAN.video, StreamOptions(dtype="auto"), "auto")
    assert found == StreamOptions(cache_dtype="int8", decode_frames=1, text_memory="host")
    (line,) = caplog.messages
    assert re.fullmatch(
        r"memory: 11\.2 of 12\.0 GiB of a card by plan, with --config\.cache.*", line
    )
    # As it was asked for, if it must be; and where it fits.
    assert options_for_this_gpu(WAN, WAN.video, StreamOptions(), "full") == StreamOptions()
    assert caplog.messages[-1] == "memory: 27.6 of 12.0 GiB of a card by plan"
    monkeypatch.setattr(recipes, "this_card", lambda: Card("a card", 40 * GIB, 8.9))
    assert options_for_this_gpu(WAN, WAN.video, StreamOptions(), "auto") == StreamOptions()
    monkeypatch.setattr(recipes, "this_card", lambda: Card("a card", 4 * GIB, 7.0))
    with pytest.raises(InputError, match="480×832 does not fit a card with any options"):
        options_for_this_gpu(WAN, WAN.video, StreamOptions(dtype="auto"), "auto")


def test_generate_follows_it(monkeypatch, tmp_path):
    """What auto chooses reaches `load`; without a GPU the recipe does."""
    story = tmp_path / "story.json"
    story.write_text(json.dumps({"global_caption": "A cartoon.", "shot1": "The frog jumps."}))
    given = {}

    def load(checkpoint, mesh, **options):
        given.update(options)
        raise jax.errors.JaxRuntimeError(
            "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 4143079192 bytes."
        )

    monkeypatch.setattr("shotstream_jax.generate.recipe.load", load)
    call = ["--story", str(story), "--out", str(tmp_path / "a.mp4")]
    # A device without memory left is one line that says what to do.
    with pytest.raises(InputError, match=r"no memory left for 4143079192 bytes: .*shotstream plan"):
        generate.main([*call, "--config.decode_frames=3"])
    assert given["dtype"] == "auto" and given["decode_frames"] == 3
    small = StreamOptions(cache_dtype="int8", text_memory="host")
    monkeypatch.setattr(generate, "options_for_this_gpu", lambda *_: small)
    with pytest.raises(InputError):
        generate.main(call)
    assert given["cache_dtype"] == "int8" and given["text_memory"] == "host"


def test_this_machines_lack_of_memory_is_one_line_too():
    with (
        pytest.raises(InputError, match="no memory left: choose less"),
        memory_errors("choose less"),
    ):
        raise MemoryError


def test_other_errors_are_left_alone():
    with pytest.raises(RuntimeError, match="something else"), memory_errors("x"):
        raise RuntimeError("something else")


def test_a_gpu_is_taken_nearly_whole_unless_the_user_says_otherwise(monkeypatch):
    for name in (VARIABLE, "XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_PREALLOCATE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    claim_gpu_memory()
    assert VARIABLE not in os.environ
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE")
    monkeypatch.setenv(VARIABLE, "0.5")
    claim_gpu_memory()
    assert os.environ[VARIABLE] == "0.5"
    # Every command does it before jax looks for devices.
    program = (
        "import os, sys; from shotstream_jax import cli; sys.argv = ['x']\n"
        f"cli.run(lambda _: print(os.environ['{VARIABLE}'], 'jax' in sys.modules))"
    )
    monkeypatch.delenv(VARIABLE)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=pathlib.Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["0.95", "False"]
