"""What a stream needs on a TPU slice, and the bound on its speed."""

import json

import jax
import pytest

from shotstream_jax.aot.collectives import Collectives
from shotstream_jax.aot.compile import Compiled, Program
from shotstream_jax.bench import __main__ as bench
from shotstream_jax.bench import aot
from shotstream_jax.core.devices import PEAKS, Peak
from shotstream_jax.core.errors import InputError

SMALL = ["--size", "32x48", "--frames", "6", "--mesh", "sequence=2,tensor=2"]
NAMES = [
    "encode_prompt",
    "prefill",
    "chunk_step",
    "commit",
    "decode_first",
    "decode_next",
    "encode_frame",
]


def compiled(name: str, flops: float, **sizes: float) -> Compiled:
    fields = {"argument": 0, "output": 0, "aliased": 0, "temp": 0, "accessed": 0} | sizes
    received = {"all-gather": fields.pop("received", 0)}
    return Compiled(
        name, 1.0, flops=flops, collectives=Collectives({"all-gather": 1}, received, 0, 0), **fields
    )


def test_the_bound_is_the_slowest_term():
    part = aot.BenchPart("chunk", "", Program("chunk_step", None, (), 0), passes=4, ways=2)
    peak = Peak(flops=100, memory=10, links=5)
    found = aot.program_bound(
        part, compiled("", 400, argument=6, output=5, aliased=3, received=20), peak
    )
    assert found == aot.Bound(compute=400 / 2 / 100, memory=(4 * 6 + 5 - 3) / 10, links=20 / 5)
    assert (found.seconds, found.by) == (4, "links")
    assert aot.program_bound(part, compiled("", 0, accessed=90), peak) == aot.Bound(0, 9, 0)


def test_a_stream_is_the_sum_of_its_programs():
    seconds = dict(zip(NAMES, (1, 2, 4, 8, 16, 32, 64), strict=True))
    part = aot.BenchPart("", "", Program("", None, (), 0), frames=12)
    made = {}
    for name, s in seconds.items():
        program = compiled(name, 0, argument=100 * s, output=s, temp=s)
        made[name] = aot.BoundProgram(part, program, aot.Bound(s, 0, 0))
    assert aot.stream_bound(made) == aot.StreamBound(
        frames_per_s=12 / (4 + 8 + 32),
        first_frames_s=1 + 2 + 4 + 16,
        resident=100 * (1 + 4 + 32) + 2 * 64,
    )


def test_every_program_of_a_stream_on_a_processors_devices(monkeypatch, tmp_path, capsys):
    """The abstract arguments fit the programs; each comes once, a chunk as the last of its shot."""
    seen = {}

    def trace(program: Program, remedy: str) -> Compiled:
        assert jax.sharding.get_abstract_mesh().shape["tensor"] == 2
        arrays = [
            a for a in jax.tree.leaves(program.arguments) if isinstance(a, jax.ShapeDtypeStruct)
        ]
        assert arrays and all(a.sharding.mesh.size == 4 for a in arrays)
        program.jitted.lower(*program.arguments)
        seen[program.name] = program.flops
        return compiled(program.name, program.flops, argument=1)

    monkeypatch.setattr(bench, "aot_devices", lambda name: jax.devices()[:4])
    monkeypatch.setattr(aot, "device_peak", lambda device: PEAKS["v5e"])
    monkeypatch.setattr(aot, "versions", dict)
    monkeypatch.setattr(aot, "compile_program", trace)
    path = tmp_path / "report.json"
    bench.main(["--aot", "here", *SMALL, "--json", str(path)])
    assert list(seen) == NAMES and all(flops > 0 for flops in seen.values())
    report = json.loads(path.read_text())
    assert [p["name"] for p in report["programs"]] == NAMES and report["stream"]["frames_per_s"] > 0
    assert report["mesh"] == {"data": 1, "fsdp": 1, "sequence": 2, "tensor": 2}
    assert "estimate, an upper bound" in capsys.readouterr().out


def test_smaller_decoders_at_the_papers_size(monkeypatch, tmp_path):
    """Each program is traced with abstract arguments; the tiny one has a small part of the work."""
    seen = {}

    def trace(program: Program, remedy: str) -> Compiled:
        for argument in jax.tree.leaves(program.arguments[1:]):
            assert isinstance(argument, jax.ShapeDtypeStruct) and argument.sharding.mesh.size == 4
        program.jitted.lower(*program.arguments)
        seen[program.name] = program.flops
        return compiled(program.name, program.flops, argument=1)

    monkeypatch.setattr(bench, "aot_devices", lambda name: jax.devices()[:4])
    monkeypatch.setattr(aot, "device_peak", lambda device: PEAKS["v5e"])
    monkeypatch.setattr(aot, "compile_program", trace)
    size = ["--preset", "wan-1.3b", "--size", "480x832", "--mesh", "sequence=2,tensor=2"]
    bench.main(["--aot", "here", *size, "--parts", "vae,decode"])
    own = ["decode_first", "decode_next", "encode_frame"]
    smaller = ["lightvae_first", "lightvae_next", "taehv_first", "taehv_next"]
    assert list(seen) == [*own, *smaller]
    assert 8 < seen["decode_next"] / seen["lightvae_next"] < 20
    assert 8 < seen["decode_next"] / seen["taehv_next"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--parts", "text,teacher"], "--parts teacher: there are text, prefill, chunk, vae"),
        (["--mesh", "tensor=8"], "tensor=8 needs 8 devices, there are 4"),
        ([], "the speed of cpu is not in core/devices"),
    ],
)
def test_mistakes_are_one_line(arguments, message, monkeypatch):
    monkeypatch.setattr(bench, "aot_devices", lambda name: jax.devices()[:4])
    with pytest.raises(InputError, match=message):
        bench.main(["--aot", "here", *arguments])


def test_a_slice_that_is_not_there(tmp_path, capsys):
    pytest.importorskip("libtpu", reason="pip install 'shotstream-jax[aot]'")
    path = tmp_path / "report.json"
    bench.main(["--aot", "v5e:2x2", *SMALL, "--parts", "chunk", "--json", str(path)])
    chunk, commit = json.loads(path.read_text())["programs"]
    assert (
        0 < chunk["aliased"] < chunk["argument"]
        and chunk["seconds_at_least"] > commit["seconds_at_least"] > 0
    )
    assert chunk["collectives"]["count"]["all-gather"] > 0
