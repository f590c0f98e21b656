"""What a stream needs on a TPU slice that is not there, and the fastest that it could run (aot/compile compiles).

  python -m shotstream_jax.bench --aot v5p:2x2x1 --preset wan-1.3b --dtype bfloat16 --mesh sequence=2,tensor=2

A program takes at least

    max( FLOPs / (ways · peak),  bytes of its own memory / bandwidth,  bytes received / bandwidth of the links )     (1)

with the data sheets' numbers (core/devices). FLOPs: by formula, over the devices that share them. Bytes of memory:
every pass reads each argument once, the rest of the result is written once; or XLA's own count, if that is more (it
leaves out Pallas kernels and counts a loop's body once). Received: the collectives of the compiled program (aot/hlo).
It is an estimate of what cannot be exceeded, not of what will be reached.
"""

import dataclasses
import importlib.metadata
import json
import pathlib
from collections.abc import Sequence

from shotstream_jax import cli
from shotstream_jax.aot.compile import GIB, HEAD, Compiled, compile_program
from shotstream_jax.bench.parts import PARTS, Part, Subject
from shotstream_jax.core.devices import HBM, Peak, device_peak
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_whole

COMPILED = ("text", "prefill", "chunk", "vae")
REMEDY = "Raise tensor or sequence in --mesh, give the autoencoder or the text encoder other devices, or take more of them"


@dataclasses.dataclass(frozen=True)
class Bound:
    """Seconds that a program takes at least, by each term of eq. (1)."""

    compute: float
    memory: float
    links: float

    @property
    def seconds(self) -> float:
        return max(self.compute, self.memory, self.links)

    @property
    def by(self) -> str:
        return max(dataclasses.asdict(self), key=dataclasses.asdict(self).get)


@dataclasses.dataclass(frozen=True)
class StreamBound:
    """The most that a stream can do at the end of a shot, where a chunk sees the most: pixel frames a second; seconds
    from a prompt to its first frames. resident: bytes a device with all parts on it, the largest program running."""

    frames_per_s: float
    first_frames_s: float
    resident: int


def report(subject: Subject, parts: Sequence[str], slice_name: str, path: str | None) -> None:
    """Prints what each program of the stream needs on the subject's (absent) devices; path: a JSON file for the same.

    Raises InputError if a program does not fit.
    """
    device = subject.model.mesh().devices.flat[0]
    peak, budget = device_peak(device), HBM.get(device.device_kind)
    if peak is None:
        raise InputError(
            f"--aot {slice_name}: the speed of {device.device_kind} is not in core/devices"
        )
    say_head(subject, slice_name, budget)
    made = {}
    for part in chosen(subject, parts):
        with subject.model.on_mesh():
            compiled = compile_program(part.program, REMEDY)
        made[compiled.name] = part, compiled, bound(part, compiled, peak)
        say(*made[compiled.name])
    stream = stream_bound(made) if set(COMPILED) <= set(parts) else None
    if stream:
        say_stream(stream, budget)
    if path:
        rows = [
            p.as_dict() | dataclasses.asdict(b) | {"seconds_at_least": b.seconds}
            for _, p, b in made.values()
        ]
        about = {
            "slice": slice_name,
            "mesh": dict(subject.model.mesh().shape),
            "preset": subject.model.preset.name,
        }
        about |= {
            "video": dataclasses.asdict(subject.video),
            "dtype": subject.model.dtype.dtype.name,
        }
        about |= {
            "hbm_gib": budget,
            "peak": peak._asdict(),
            "batch": subject.batch,
            "programs": rows,
        }
        about |= {"stream": dataclasses.asdict(stream) if stream else None, "versions": versions()}
        write_whole(pathlib.Path(path), (json.dumps(about, indent=1) + "\n").encode())


def chosen(subject: Subject, parts: Sequence[str]) -> list[Part]:
    """A part for every program; of those that share one the last, which sees the most."""
    found = [part for name in parts for part in PARTS[name](subject)]
    return list({part.program.name: part for part in found}.values())


def bound(part: Part, compiled: Compiled, peak: Peak) -> Bound:
    """Eq. (1)."""
    moved = part.passes * compiled.argument + compiled.output - compiled.aliased
    return Bound(
        compiled.flops / part.ways / peak.flops,
        max(moved, compiled.accessed) / peak.memory,
        sum(compiled.collectives.bytes.values()) / peak.links,
    )


def stream_bound(made: dict[str, tuple[Part, Compiled, Bound]]) -> StreamBound:
    """Of all the programs of a stream."""
    seconds = {name: bound.seconds for name, (_, _, bound) in made.items()}
    compiled = {name: compiled for name, (_, compiled, _) in made.items()}
    chunk = sum(seconds[name] for name in ("chunk_step", "commit", "decode_next"))
    first = sum(
        seconds[name] for name in ("encode_prompt", "prefill", "chunk_step", "decode_first")
    )
    held = sum(compiled[name].argument for name in ("encode_prompt", "chunk_step", "decode_next"))
    working = max(c.total - c.argument for c in compiled.values())
    return StreamBound(made["decode_next"][0].frames / chunk, first, held + working)


def say_head(subject: Subject, slice_name: str, budget: float | None) -> None:
    preset, video, mesh = subject.model.preset, subject.video, subject.model.mesh()
    lengths = " ".join(f"{axis}={n}" for axis, n in mesh.shape.items() if n > 1)
    cli.say(
        f"{preset.name}, {video.height}×{video.width}, {video.shot_frames} latent frames a shot, "
        f"{subject.batch} stories, {subject.model.dtype.dtype.name}; {slice_name}: {mesh.size} devices of "
        f"{budget or '?'} GiB, {lengths or 'no split'}"
    )
    cli.say(f"{HEAD}{'at least':>14}")


def say(part: Part, compiled: Compiled, bound: Bound) -> None:
    cli.say(f"{compiled.line}{1e3 * bound.seconds:>11.1f} ms")
    terms = ", ".join(
        f"{name} {1e3 * seconds:.1f}" for name, seconds in dataclasses.asdict(bound).items()
    )
    cli.say(f"    {part.variant}; by {bound.by} ({terms} ms); {compiled.sent}")


def say_stream(stream: StreamBound, budget: float | None) -> None:
    cli.say(f"all parts on every device: {stream.resident / GIB:.2f} of {budget or '?'} GiB")
    cli.say(
        f"estimate, an upper bound (data-sheet rates, nothing lost): {stream.frames_per_s:.1f} frames/s at a shot's "
        f"end, first frames after {stream.first_frames_s:.2f} s"
    )


def versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("shotstream-jax", "jax", "libtpu")}
