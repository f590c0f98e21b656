"""`bench --all`: what it writes, and what a section that fails costs."""

import gzip
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

import jax.numpy as jnp
import pytest

from shotstream_jax.bench import models
from shotstream_jax.bench.__main__ import main
from shotstream_jax.bench.parts import vae_parts
from shotstream_jax.bench.subject import BenchSubject
from shotstream_jax.bench.survey import record, trace
from shotstream_jax.bench.survey.convolution import conv_flops, decoder_convolutions
from shotstream_jax.bench.survey.driver import run_survey
from shotstream_jax.bench.survey.settings import SurveySettings
from shotstream_jax.bench.survey.table import Section
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import part_mesh
from shotstream_jax.presets import find_preset

ROOT = pathlib.Path(__file__).parents[2]
# What a machine with nothing but jax and flax's own dependencies lacks.
MISSING = (
    "array_record",
    "av",
    "beartype",
    "ftfy",
    "grain",
    "huggingface_hub",
    "imageio",
    "ml_collections",
    "portpicker",
    "tensorboardX",
    "wcwidth",
)


def events(process: str, threads: dict[str, list[tuple]]) -> list[dict]:
    """A process of a trace: (name, start, duration, operation) by thread."""
    pid = len(process)
    found = [{"ph": "M", "pid": pid, "name": "process_name", "args": {"name": process}}]
    for tid, (thread, entries) in enumerate(threads.items()):
        name = {"ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": {"name": thread}}
        found.append(name)
        for kernel, start, duration, op in entries:
            event = {"ph": "X", "pid": pid, "tid": tid, "name": kernel, "ts": start}
            found.append(event | {"dur": duration, "args": {"hlo_op": op}})
    return found


GPU = events(
    "/device:GPU:0",
    {
        "Stream #20(Compute)": [("gemm", 0, 5, "dot.1"), ("gemm", 9, 3, "dot.1")],
        "Stream #21(MemcpyD2D)": [("gemm", 2, 2, "dot.2"), ("copy", 5, 4, "copy.1")],
        "XLA Ops": [("dot.1", 0, 5, "dot.1")],
        "XLA Modules": [("jit_step", 0, 20, "")],
    },
)
HOST = events(
    "/host:CPU",
    {
        "pool": [
            ("while", 0, 100, "while"),
            ("a", 10, 30, "a"),
            ("b", 20, 5, "b"),
            ("a", 90, 8, "a"),
        ]
    },
)
OTHER = [{"ph": "X", "pid": 9, "tid": 9, "name": "python", "ts": 0, "dur": 500}]


def test_kernels_are_summed_on_the_devices_streams_only(tmp_path):
    folder = tmp_path / "plugins" / "profile" / "now"
    folder.mkdir(parents=True)
    text = json.dumps({"traceEvents": GPU + HOST + OTHER}).encode()
    (folder / "here.trace.json.gz").write_bytes(gzip.compress(text))
    kernels = trace.read_trace(tmp_path)
    assert kernels == [("gemm", "dot.1", 8, 2), ("copy", "copy.1", 4, 1), ("gemm", "dot.2", 2, 1)]
    assert [row["share"] for row in trace.kernel_rows(kernels)] == [0.5714, 0.2857, 0.1429]
    with pytest.raises(FileNotFoundError):
        trace.read_trace(tmp_path / "empty")


def test_a_loop_counts_without_what_runs_in_it():
    found = trace.kernel_table(HOST + OTHER)
    assert found == [("while", "while", 62, 1), ("a", "a", 33, 2), ("b", "b", 5, 1)]


def test_half_a_line_is_left_out_and_hurts_no_other(tmp_path):
    record.write_line(tmp_path, {"line": "end", "section": "a", "status": "done", "x": 1 / 3})
    with (tmp_path / record.NAME).open("a") as file:
        file.write('{"line": "end", "sec')
    record.write_line(tmp_path, {"line": "end", "section": "b", "status": "failed", "x": 1e400})
    first, second = record.read_results(tmp_path)
    assert first["x"] == 0.33333 and second["x"] is None
    assert record.finished_sections(tmp_path) == {"a"}


def section(name: str, limit: float = 60, needs: float = 0) -> Section:
    return Section(f"tests.bench.sections:{name}", needs, limit, "")


def lines_of(folder: pathlib.Path, kind: str) -> list[dict]:
    return [line for line in record.read_results(folder) if line["line"] == kind]


def test_a_section_that_fails_costs_only_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOTSTREAM_CACHE_DIR", str(tmp_path / "cache"))
    out = tmp_path / "out"
    settings = SurveySettings(out=str(out), preset="tiny")
    sections = {
        "raises": section("raises"),
        "hangs": section("hangs", limit=4),
        "dies": section("dies"),
        "good": section("good"),
        "long": section("good", needs=1000),
    }
    run_survey(settings, sections, minutes=1)
    ends = {line["section"]: line for line in lines_of(out, "end")}
    statuses = {name: line["status"] for name, line in ends.items()}
    expected = {"raises": "failed", "hangs": "timeout", "dies": "failed", "good": "done"}
    assert statuses == expected | {"long": "skipped"}
    assert "out of memory" in ends["raises"]["output"] and ends["dies"]["exit"] == 7
    # What was found before stays; a package that lacks is a finding.
    found = [(line["part"], line["variant"]) for line in lines_of(out, "result")]
    assert found[:2] == [("raises", "before"), ("hangs", "before")]
    assert [line["failed"] for line in lines_of(out, "result") if "failed" in line] == [
        "needs grain"
    ]

    # Only on request, and only with the same sizes; what is done is left out.
    with pytest.raises(InputError, match="--resume"):
        run_survey(settings, sections, minutes=1)
    with pytest.raises(InputError, match="give the same options"):
        run_survey(SurveySettings(out=str(out)), sections, minutes=1, resume=True)
    again = {"good": section("good"), "dies": section("good")}
    run_survey(settings, again, minutes=1, resume=True)
    assert [line["section"] for line in lines_of(out, "start")][-1:] == ["dies"]
    assert record.finished_sections(out) == {"good", "dies"}


def test_a_dry_run_on_a_processor(tmp_path, monkeypatch, capsys):
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "an earlier program").write_bytes(b"1")
    monkeypatch.setenv("SHOTSTREAM_CACHE_DIR", str(cache))
    out = tmp_path / "out"
    size = ["--size", "16x16", "--frames", "3", "--seconds", "0.01", "--minutes", "2"]
    main(["--all", "--out", str(out), "--only", "kernels,convolution", *size])
    about, *_ = lines_of(out, "run")
    assert about["versions"]["jax"] and set(record.FIELDS) == set(about["fields"])
    assert [line["status"] for line in lines_of(out, "end")] == ["done", "done"]
    results = lines_of(out, "result")
    assert not [line for line in results if "failed" in line]
    # The kernels of three programs, and the programs themselves.
    for name in ("chunk_step", "decode_next", "commit"):
        kernels = json.loads((out / f"kernels_{name}.json").read_text())
        assert kernels[0]["total_us"] > 0 and sum(k["share"] for k in kernels) == pytest.approx(
            1, abs=0.01
        )
        assert b"HloModule" in gzip.decompress((out / "programs" / f"{name}.hlo.gz").read_bytes())
    convolutions = [line for line in results if line["part"] == "convolution"]
    assert all(line["error"] < 1e-5 for line in convolutions[:-1]) and len(convolutions) > 3
    with tarfile.open(out / "xla_cache.tgz") as packed:
        assert len(packed.getnames()) == len([p for p in cache.rglob("*") if p.is_file()]) > 0
    assert "convolution: done" in capsys.readouterr().out


def test_the_decoders_convolutions_at_the_papers_size():
    preset = find_preset("wan-1.3b")
    model = models.abstract_model(preset, jnp.bfloat16, part_mesh({}), "none")
    subject = BenchSubject(model, preset.video, 1, abstract=True)
    shapes = decoder_convolutions(subject)
    assert shapes[(1, 12, 480, 832, 96), 96] == 6 and shapes[(1, 12, 480, 832, 96), 3] == 1
    # They are nearly all of decoding.
    later = next(part for part in vae_parts(subject) if part.variant == "a later chunk")
    share = sum(n * conv_flops(shape) for shape, n in shapes.items()) / later.program.flops
    assert 0.85 < share < 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--all"], "--all needs --out DIR"),
        (["--all", "--out", "x", "--parts", "dit"], "--parts is not for --all"),
        (["--all", "--out", "x", "--only", "dit"], "--only dit: there are device, stream"),
        (["--all", "--out", "x", "--minutes", "0"], "--minutes 0.0 must be more than 0"),
        (["--all", "--out", "x", "--preset", "tiny", "--size", "9x8"], "height 9 is not a multi"),
        (["--out", "x"], "--out is for --all"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    with pytest.raises(InputError, match=message):
        main(arguments)


def test_a_bare_source_tree_without_most_packages(tmp_path):
    """Nothing is installed, no package but jax's and flax's own is there."""
    for name in ("shotstream_jax", "configs"):
        ignore = shutil.ignore_patterns("__pycache__", "weights")
        shutil.copytree(ROOT / name, tmp_path / "tree" / name, ignore=ignore)
    blocker = tmp_path / "blocker"
    blocker.mkdir()
    lines = ["import sys", f"for name in {MISSING!r}:", "    sys.modules[name] = None"]
    (blocker / "sitecustomize.py").write_text("\n".join(lines) + "\n")
    environment = os.environ | {
        "PYTHONPATH": str(blocker),
        "SHOTSTREAM_CACHE_DIR": str(tmp_path / "cache"),
    }
    command = [sys.executable, "-m", "shotstream_jax", "bench", "--all", "--out", "out"]
    command += ["--only", "device,attention,teacher", "--seconds", "0.01", "--minutes", "2"]
    tree = tmp_path / "tree"
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ends = [(line["section"], line["status"]) for line in lines_of(tree / "out", "end")]
    assert ends == [("device", "done"), ("attention", "done"), ("teacher", "done")]
    # Only what really needs a package says so.
    failed = [line["failed"] for line in lines_of(tree / "out", "result") if "failed" in line]
    assert failed == ["needs ml_collections"]
    timed = [line["variant"] for line in lines_of(tree / "out", "result") if "ms" in line]
    assert any(variant.startswith("exact") for variant in timed)


def test_scattered_numbers_look_random():
    for shape in ((4096,), (384, 64), (6, 128, 64), (3, 3, 3, 32, 32)):
        x = models.scattered(shape)
        assert abs(x.mean()) < 0.03 and abs(x.std() - 1) < 0.03
        assert len(jnp.unique(x)) > 0.99 * x.size
        # Neighbours along no axis are alike.
        for axis in range(x.ndim):
            assert abs((x * jnp.roll(x, 1, axis)).mean()) < 0.05
