"""What a stream needs on a TPU slice that is not there, and the fastest that it could run.

  shotstream bench --aot v5p:2x2x1 --preset wan-1.3b --dtype bfloat16 \\
      --mesh sequence=2,tensor=2

A program (aot/compile compiles it) takes at least

    max( FLOPs / (ways · peak),  bytes of its own memory / bandwidth,
         bytes received / bandwidth of the links )                                               (1)

with the data sheets' numbers (core/devices). FLOPs: by formula, over the devices that share them.
Bytes of memory: every pass reads each argument once, the rest of the result is written once; or
XLA's own count, if that is more (it leaves out Pallas kernels and counts a loop's body once).
Received: the collectives of the compiled program (aot/collectives). It is an estimate of what
cannot be exceeded, not of what will be reached.
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from shotstream_jax import cli
from shotstream_jax.aot.compile import GIB, HEAD, Compiled, compile_program
from shotstream_jax.bench.parts import PARTS
from shotstream_jax.bench.subject import BenchPart, BenchSubject
from shotstream_jax.core.devices import Peak, device_peak, program_memory
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_json
from shotstream_jax.core.versions import installed_version

COMPILED = ("text", "prefill", "chunk", "vae")
REMEDY = (
    "Raise tensor or sequence in --mesh, give the autoencoder or the text encoder other devices, "
    "or take more of them"
)


@dataclasses.dataclass(frozen=True)
class Bound:
    """Seconds that a program takes at least, by each term of eq. (1)."""

    compute: float
    memory: float
    links: float

    @property
    def seconds(self) -> float:
        """The largest of the terms."""
        return max(self.compute, self.memory, self.links)

    @property
    def by(self) -> str:
        """The name of the largest term."""
        terms: dict[str, float] = dataclasses.asdict(self)
        return max(terms, key=lambda name: terms[name])


@dataclasses.dataclass(frozen=True)
class StreamBound:
    """The most that a stream can do at the end of a shot, where a chunk sees the most.

    frames_per_s: pixel frames. first_frames_s: seconds from a prompt to its first frames. resident:
    bytes on each device with all parts on it, while the largest program runs.
    """

    frames_per_s: float
    first_frames_s: float
    resident: int


class BoundProgram(NamedTuple):
    """A part's program, what the compiler says of it, and the bound on its speed."""

    part: BenchPart
    compiled: Compiled
    bound: Bound


def report_stream(
    subject: BenchSubject, parts: Sequence[str], slice_name: str, path: str | None
) -> None:
    """Prints what each program of the stream needs on the subject's (absent) devices.

    parts: of COMPILED. path: a JSON file for the same, or None.
    Raises InputError if the slice's speed is not known, or if a program does not fit.
    """
    device = subject.mesh.devices.flat[0]
    peak = device_peak(device)
    if peak is None:
        raise InputError(
            f"--aot {slice_name}: the speed of {device.device_kind} is not in core/devices"
        )
    budget = program_memory(device)
    # The table's head, then two lines for each program.
    _print_subject(subject, slice_name, budget)
    programs: dict[str, BoundProgram] = {}
    for part in distinct_programs(subject, parts):
        with subject.model.on_mesh():
            compiled = compile_program(part.program, REMEDY)
        program = BoundProgram(part, compiled, program_bound(part, compiled, peak))
        # A line at once: compiling the next one may take minutes.
        programs[compiled.name] = program
        _print_program(program)
    # A bound on the whole stream needs all of its programs.
    stream = None
    if set(COMPILED) <= set(parts):
        stream = stream_bound(programs)
        _print_stream(stream, budget)
    if path:
        report = {
            "slice": slice_name,
            **described(subject),
            "hbm_gib": budget,
            "peak": peak._asdict(),
            "programs": [_program_row(program) for program in programs.values()],
            "stream": dataclasses.asdict(stream) if stream else None,
            "versions": versions(),
        }
        write_json(pathlib.Path(path), report)


def distinct_programs(subject: BenchSubject, parts: Iterable[str]) -> list[BenchPart]:
    """A part for every program; of parts that share one the last, which sees the most frames."""
    by_program: dict[str, BenchPart] = {}
    for name in parts:
        for part in PARTS[name](subject):
            by_program[part.program.name] = part
    return list(by_program.values())


def program_bound(part: BenchPart, compiled: Compiled, peak: Peak) -> Bound:
    """Eq. (1) for a program on devices with these peak rates."""
    # Donated arguments are in the output too, but nothing new is written for them.
    moved = part.passes * compiled.argument + compiled.output - compiled.aliased
    # A device receives the results of its collectives.
    received = sum(compiled.collectives.bytes.values())
    return Bound(
        compute=compiled.flops / part.ways / peak.flops,
        memory=max(moved, compiled.accessed) / peak.memory,
        links=received / peak.links,
    )


def stream_bound(programs: Mapping[str, BoundProgram]) -> StreamBound:
    """The bound on a stream from those of all its programs, by their names."""

    def seconds(*names: str) -> float:
        """What these programs take at least, one after the other."""
        return sum(programs[name].bound.seconds for name in names)

    # A chunk is denoised, committed and decoded; a shot's first one waits for prompt and prefill
    # too.
    chunk = seconds("chunk_step", "commit", "decode_next")
    first = seconds("encode_prompt", "prefill", "chunk_step", "decode_first")
    # Each part's parameters and state are held once, by the program with most of them.
    held = 0
    for name in ("encode_prompt", "chunk_step", "decode_next"):
        held += programs[name].compiled.argument
    # The largest need of a running program beside its arguments.
    working = 0
    for program in programs.values():
        working = max(working, program.compiled.total - program.compiled.argument)
    frames = programs["decode_next"].part.frames
    return StreamBound(frames / chunk, first, held + working)


def described(subject: BenchSubject) -> dict[str, Any]:
    """The subject in a report."""
    return {
        "mesh": dict(subject.mesh.shape),
        "preset": subject.model.preset.name,
        "video": dataclasses.asdict(subject.video),
        "dtype": _dtype_name(subject),
        "batch": subject.batch,
    }


def _program_row(program: BoundProgram) -> dict[str, Any]:
    """A program in a report."""
    return {
        **program.compiled.as_dict(),
        **dataclasses.asdict(program.bound),
        "seconds_at_least": program.bound.seconds,
    }


def _print_subject(subject: BenchSubject, slice_name: str, budget: float | None) -> None:
    """What is compiled, for which devices, and the head of the table. budget: GiB a device."""
    mesh = subject.mesh
    # Only axes that split something are named.
    split = [f"{axis}={length}" for axis, length in mesh.shape.items() if length > 1]
    lengths = " ".join(split) or "no split"
    devices = f"{mesh.size} devices of {budget or '?'} GiB"
    cli.print_line(f"{subject_line(subject)}; {slice_name}: {devices}, {lengths}")
    cli.print_line(f"{HEAD}{'at least':>14}")


def subject_line(subject: BenchSubject) -> str:
    """What is compiled, in words."""
    video = subject.video
    size = f"{video.height}×{video.width}, {video.shot_frames} latent frames a shot"
    stories = "1 story" if subject.batch == 1 else f"{subject.batch} stories"
    return f"{subject.model.preset.name}, {size}, {stories}, {_dtype_name(subject)}"


def _print_program(program: BoundProgram) -> None:
    """A program's two lines of the table."""
    part, compiled, bound = program
    cli.print_line(f"{compiled.line}{1e3 * bound.seconds:>11.1f} ms")
    terms = []
    for name, seconds in dataclasses.asdict(bound).items():
        terms.append(f"{name} {1e3 * seconds:.1f}")
    cli.print_line(f"    {part.variant}; by {bound.by} ({', '.join(terms)} ms); {compiled.sent}")


def _print_stream(stream: StreamBound, budget: float | None) -> None:
    """The two lines under the table. budget: GiB a device."""
    resident = f"{stream.resident / GIB:.2f} of {budget or '?'} GiB"
    cli.print_line(f"all parts on every device: {resident}")
    cli.print_line(
        "estimate, an upper bound (data-sheet rates, nothing lost): "
        f"{stream.frames_per_s:.1f} frames/s at a shot's end, "
        f"first frames after {stream.first_frames_s:.2f} s"
    )


def _dtype_name(subject: BenchSubject) -> str:
    return jnp.dtype(subject.model.dtype).name


def versions() -> dict[str, str]:
    """Versions of the packages on which the numbers depend."""
    return {name: installed_version(name) for name in ("shotstream-jax", "jax", "libtpu")}
