"""What a stream takes on an NVIDIA GPU that is not there, from its compiled programs.

  shotstream bench --aot h100 --preset wan-1.3b --dtype bfloat16
  … with a smaller decoder    … --decoder taehv --history shown

Every program's kernels are priced one by one (aot/prices, eq. 1). A shot is

    text + prefill + Σ over chunks (chunk step + decoding + commit) + encoding of its context    (1)

where attention looks at the keys that are there at that chunk, and the last chunk is not committed.
With exact history a shot whose frames a smaller decoder shows is decoded by the autoencoder as
well, all of it: so it is in a story's first shots. It is a forecast: nothing was run, and the rates
are assumptions that are printed with it.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from shotstream_jax import cli
from shotstream_jax.aot.compile import GIB, HEAD, Compiled, compile_program
from shotstream_jax.aot.prices import Forecast, Rates, assumed_rates, forecast
from shotstream_jax.bench.aot import COMPILED, described, distinct_programs, subject_line, versions
from shotstream_jax.bench.subject import BenchPart, BenchSubject
from shotstream_jax.core.devices import device_peak, program_memory
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_json
from shotstream_jax.nn.attention import cache_slots
from shotstream_jax.presets import OWN_DECODER, OWN_HISTORY, SHOWN_HISTORY

REMEDY = "Lower --size, use --quantize, or take a larger GPU"


class PricedProgram(NamedTuple):
    """A part's program, what the compiler says of it, and its price with all keys in the cache."""

    part: BenchPart
    compiled: Compiled
    forecast: Forecast


@dataclasses.dataclass(frozen=True)
class StreamForecast:
    """A shot by eq. (1).

    shot_seconds, frames: of one shot. chunk_seconds: of each chunk's denoising steps.
    first_frames_s: from a prompt to its first frames. resident: bytes on the GPU with all parts on
    it, while the largest program runs.
    """

    shot_seconds: float
    frames: int
    chunk_seconds: list[float]
    first_frames_s: float
    resident: int

    @property
    def frames_per_s(self) -> float:
        """Pixel frames."""
        return self.frames / self.shot_seconds


def report_forecast(
    subject: BenchSubject,
    parts: Sequence[str],
    target: str,
    path: str | None,
    decoder: str = OWN_DECODER,
    history: str = OWN_HISTORY,
) -> None:
    """Prints what each program of the stream takes on the subject's (absent) GPU.

    parts: of COMPILED. path: a JSON file for the same, or None. decoder, history: of the stream.
    Raises InputError if the GPU's speed is not known, if there are several, or if a program does
    not fit.
    """
    # Only a GPU whose speed is known can be forecast.
    device = subject.mesh.devices.flat[0]
    peak = device_peak(device)
    if peak is None:
        raise InputError(f"--aot {target}: the speed of {device.device_kind} is not known")
    if subject.mesh.size > 1:
        raise InputError(f"--aot {target}: a stream's forecast is for one GPU; leave out --mesh")
    # The table: two lines for each program.
    rates = assumed_rates(peak)
    memory = program_memory(device)
    cli.print_line(f"{subject_line(subject)}; {device.device_kind}, {memory or 0:.1f} GiB for us")
    cli.print_line(f"{HEAD}{'GB moved':>10}{'launches':>10}{'forecast':>12}")
    programs: dict[str, PricedProgram] = {}
    for part in distinct_programs(subject, parts):
        with subject.model.on_mesh():
            compiled = compile_program(part.program, REMEDY)
        program = PricedProgram(part, compiled, forecast(compiled.kernels, rates))
        # A line at once: compiling the next one may take a minute.
        programs[compiled.name] = program
        _print_program(program)
    # A shot needs all of its programs.
    stream = None
    if set(COMPILED) <= set(parts):
        decoders = _decoders(decoder, history, programs)
        stream = stream_forecast(subject, programs, rates, decoders)
        _print_stream(stream)
    cli.print_line(_assumptions(rates))
    if path:
        report = {
            "gpu": device.device_kind,
            **described(subject),
            "decoder": decoder,
            "history": history,
            "memory_gib": memory,
            "rates": rates._asdict(),
            "programs": [_program_row(program) for program in programs.values()],
            "stream": _stream_row(stream) if stream else None,
            "versions": versions(),
        }
        write_json(pathlib.Path(path), report)


def _decoders(decoder: str, history: str, programs: Mapping[str, PricedProgram]) -> tuple[str, ...]:
    """The beginnings of the names of the decoding programs that a shot runs, the shown one first.

    Raises InputError if the decoder's programs are not among the compiled ones.
    """
    own = "decode"
    if decoder == OWN_DECODER:
        return (own,)
    # The two tiny ones are one program.
    shown = "taehv" if decoder == "lighttae" else decoder
    if f"{shown}_next" not in programs:
        raise InputError(f"--decoder {decoder}: this preset has none; leave it out")
    return (shown,) if history == SHOWN_HISTORY else (shown, own)


def stream_forecast(
    subject: BenchSubject,
    programs: Mapping[str, PricedProgram],
    rates: Rates,
    decoders: Sequence[str] = ("decode",),
) -> StreamForecast:
    """Eq. (1) from the programs, by their names.

    decoders: the beginnings of the names of those that decode, the one that is shown first.
    """
    preset = subject.model.preset
    memory = preset.memory
    frames = subject.video.shot_frames

    def seconds(name: str, seen: float = 1.0) -> float:
        """What a program takes if attention looks at this share of the cache."""
        return forecast(programs[name].compiled.kernels, rates, seen).total_seconds

    # A shot's chunks: how much of the cache's room each one sees.
    slots = cache_slots(memory.frames * subject.tokens, preset.dit.head_dim)
    chunk_seconds = []
    commit_seconds = 0.0
    for fill in range(0, frames, memory.chunk):
        seen_frames = memory.context + min(fill + memory.chunk, memory.window)
        seen = seen_frames * subject.tokens / slots
        chunk_seconds.append(seconds("chunk_step", seen))
        if fill + memory.chunk < frames:
            commit_seconds += seconds("commit", seen)

    # Once a shot: the prompt, and the context in the caches; and encoding the next shots' context.
    start = seconds("encode_prompt") + seconds("prefill")
    # A chunk is decoded whole, or in pieces.
    pieces = memory.chunk // (subject.model.decode_frames or memory.chunk)
    later_pieces = pieces * len(chunk_seconds) - 1
    decoding = 0.0
    for decoder in decoders:
        decoding += seconds(f"{decoder}_first") + later_pieces * seconds(f"{decoder}_next")
    shown = decoders[0]
    first_decoding = seconds(f"{shown}_first") + (pieces - 1) * seconds(f"{shown}_next")
    encoding = memory.context * seconds("encode_frame")
    return StreamForecast(
        shot_seconds=start + sum(chunk_seconds) + commit_seconds + decoding + encoding,
        frames=preset.vae.pixel_frames(frames),
        chunk_seconds=chunk_seconds,
        first_frames_s=start + chunk_seconds[0] + first_decoding,
        resident=_resident(programs, decoders),
    )


def _resident(programs: Mapping[str, PricedProgram], decoders: Sequence[str]) -> int:
    """Bytes of all parts' parameters and states, and of the largest working memory beside them."""
    decoding = [f"{decoder}_next" for decoder in decoders]
    # Each part's parameters and state are held once, by the program with most of them. The encoder
    # is the autoencoder's.
    held = 0
    for name in ("encode_prompt", "chunk_step", "encode_frame", *decoding):
        held += programs[name].compiled.argument
    if "decode" in decoders:
        held -= programs["encode_frame"].compiled.argument
    # What else runs.
    running = {"encode_prompt", "prefill", "chunk_step", "commit", "encode_frame", *decoding}
    working = 0
    for name in running:
        program = programs[name].compiled
        working = max(working, program.total - program.argument)
    return held + working


def _print_program(program: PricedProgram) -> None:
    """A program's two lines of the table."""
    priced = program.forecast
    cli.print_line(
        f"{program.compiled.line}{priced.total_bytes / 1e9:>10.1f}{priced.total_launches:>10}"
        f"{1e3 * priced.total_seconds:>9.1f} ms"
    )
    # The second line: where the time and the bytes go.
    kinds = []
    for kind, launches in priced.launches.items():
        if launches:
            gigabytes = priced.bytes[kind] / 1e9
            milliseconds = 1e3 * priced.seconds[kind]
            kinds.append(f"{kind} {milliseconds:.1f} ms {gigabytes:.1f} GB")
    cli.print_line(f"    {program.part.variant}; {', '.join(kinds)}")


def _print_stream(stream: StreamForecast) -> None:
    """What the programs make together."""
    first = 1e3 * stream.chunk_seconds[0]
    last = 1e3 * stream.chunk_seconds[-1]
    cli.print_line(
        f"forecast: a shot of {stream.frames} frames in {stream.shot_seconds:.2f} s, "
        f"{stream.frames_per_s:.1f} frames/s; first frames after {stream.first_frames_s:.2f} s; "
        f"chunk 1 / {len(stream.chunk_seconds)}: {first:.0f} / {last:.0f} ms; "
        f"all parts on the GPU: {stream.resident / GIB:.2f} GiB"
    )


def _assumptions(rates: Rates) -> str:
    """The rates in words."""
    return (
        f"assumed: attention {rates.attention / 1e12:.0f} (Mosaic {rates.mosaic / 1e12:.0f}), "
        f"matmuls {rates.matmul / 1e12:.0f} "
        f"(8 bits {rates.matmul8 / 1e12:.0f}), convolutions {rates.convolution / 1e12:.0f} "
        f"TFLOP/s, memory {rates.memory / 1e12:.2f} TB/s, at least {1e6 * rates.launch:.1f} µs a "
        "kernel, one after the other; copies of weights beside them. Nothing was run"
    )


def _program_row(program: PricedProgram) -> dict[str, Any]:
    """A program in a report."""
    return {**program.compiled.as_dict(), "forecast": dataclasses.asdict(program.forecast)}


def _stream_row(stream: StreamForecast) -> dict[str, Any]:
    """The stream in a report."""
    return {**dataclasses.asdict(stream), "frames_per_s": stream.frames_per_s}
