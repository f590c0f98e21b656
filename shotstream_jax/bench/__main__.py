"""How fast every part runs on this machine, and how near to what its device can do.

  everything, at tiny size             shotstream bench
  the paper's size on an accelerator   shotstream bench --preset wan-1.3b \\
                                           --dtype bfloat16
  some parts, a smaller picture        … --preset wan-1.3b --parts dit,vae --size 240x416
  smaller decoders beside the own one  … --preset wan-1.3b --parts vae,decode
  a stream over four devices           … --parts chunk,stream --mesh sequence=2,tensor=2
  on a TPU slice that is not there     … --preset wan-1.3b --dtype bfloat16 --aot v5p:2x2x1 \\
                                           --mesh sequence=2,tensor=2
  on a GPU that is not there           … --preset wan-1.3b --dtype bfloat16 --aot h100
  training steps over a mesh           … --parts teacher --batch 8 --mesh fsdp=4,sequence=2
  all that 8 minutes on a GPU tell     shotstream bench --all --minutes 8 --out DIR

Weights are random, made on the device: no checkpoint is read. Times are medians. FLOPs are those of
matmuls and convolutions, counted by formula; "of matmul" is the share of what one large matmul of
this --dtype reaches there. --aot times nothing: it prints what the stream's programs need, and a
bound or a forecast of their speed (docs/performance.md). --all measures much more and writes it to
a folder.
"""

import argparse
import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence

import jax
from jax.sharding import Mesh

from shotstream_jax import cli
from shotstream_jax.aot.compile import aot_devices
from shotstream_jax.bench import aot
from shotstream_jax.bench.forecast import report_forecast
from shotstream_jax.bench.measure import Roofline, measure_roofline, peak_device_memory, timed
from shotstream_jax.bench.models import abstract_model, random_model, smaller_decoders
from shotstream_jax.bench.options import (
    add_measuring_options,
    add_model_options,
    add_stream_options,
)
from shotstream_jax.bench.parts import PARTS
from shotstream_jax.bench.stream import stream_timing
from shotstream_jax.bench.subject import BenchPart, BenchSubject
from shotstream_jax.bench.survey.options import add_survey_options, check_survey_options, survey
from shotstream_jax.bench.table import Row, print_head, print_row
from shotstream_jax.bench.training import training_parts
from shotstream_jax.checkpoint.load import DTYPES
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.devices import GPUS
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import check_writable
from shotstream_jax.core.gpu_memory import memory_errors
from shotstream_jax.core.sharding import part_mesh
from shotstream_jax.core.versions import installed_version
from shotstream_jax.model import Model, check_savings
from shotstream_jax.nn import attention, quantize
from shotstream_jax.presets import (
    OWN_DECODER,
    Preset,
    VideoFormat,
    find_preset,
)
from shotstream_jax.train.build import read_recipe
from shotstream_jax.train.recipe import RECIPES

MEMORY_REMEDY = (
    "choose fewer --parts, a smaller --size or --batch, or --quantize int8; `shotstream plan` says "
    "what a stream takes"
)


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("shotstream_jax.bench", __doc__)
    add_model_options(p)
    add_stream_options(p)
    add_measuring_options(p)
    add_survey_options(p)
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command with these options."""
    # All options are checked before anything is compiled.
    args = parser().parse_args(argv)
    check_survey_options(args)
    check_counts(args)
    if args.json:
        check_writable(args.json)
    # The form of attention is chosen when a program is traced.
    if args.attention:
        os.environ[attention.FORM_VARIABLE] = args.attention
    if args.all:
        # Nothing here may take the device into use: the sections' processes do.
        survey(args, *picture_size(args))
        return
    args.preset = args.preset or "tiny"
    args.dtype = args.dtype or "float32"
    args.seconds = args.seconds or 5.0
    parts = chosen_parts(args)
    # Sizes, and whether they can be split over the devices.
    preset = find_preset(args.preset)
    video = video_format(args, preset)
    mesh = make_bench_mesh(args)
    preset.check_mesh(mesh.shape, preset.latent_grid(video))
    quantize.check_quantize(args.quantize, mesh.devices.flat[0])
    check_savings(preset, args.cache_dtype, args.decode_frames)
    if args.aot:
        model = abstract_model(preset, DTYPES[args.dtype], mesh, args.quantize)
        model = _with_savings(model, args)
        subject = BenchSubject(model, video, args.batch, abstract=True)
        if args.aot.partition(":")[0] in GPUS:
            report_forecast(subject, parts, args.aot, args.json, args.decoder, args.history)
        else:
            aot.report_stream(subject, parts, args.aot, args.json)
    else:
        with memory_errors(MEMORY_REMEDY):
            measure_parts(args, parts, preset, video, mesh)


def measure_parts(
    args: argparse.Namespace,
    parts: Sequence[str],
    preset: Preset,
    video: VideoFormat,
    mesh: Mesh,
) -> None:
    """Measures the parts, prints the table and writes the JSON lines."""
    use_persistent_cache()
    rates = measure_roofline(DTYPES[args.dtype], min(args.seconds, 3))
    about = {
        "preset": preset.name,
        "height": video.height,
        "width": video.width,
        "shot_frames": video.shot_frames,
        "batch": args.batch,
        "dtype": args.dtype,
        "quantize": args.quantize,
        "cache_dtype": args.cache_dtype,
        "decode_frames": args.decode_frames,
        "mesh": args.mesh,
        **machine(),
        "attention": args.attention or "default",
        "matmul_tflops": rates.matmul / 1e12,
        "copy_gb_s": rates.copy / 1e9,
    }
    print_head(about)
    with contextlib.ExitStack() as files:
        file = files.enter_context(open(args.json, "w")) if args.json else None
        # Each line is printed and written when it is measured.
        for row in measured_rows(args, parts, preset, video, mesh, rates):
            print_row(row)
            if file:
                file.write(json.dumps(about | row) + "\n")
                file.flush()


def measured_rows(
    args: argparse.Namespace,
    parts: Sequence[str],
    preset: Preset,
    video: VideoFormat,
    mesh: Mesh,
    rates: Roofline,
) -> Iterator[Row]:
    """A row for every measurement: the stream's first, then training."""
    streaming = [name for name in parts if name not in RECIPES]
    training = [name for name in parts if name in RECIPES]
    if streaming:
        # The model is made in a function of its own: the training steps need its memory.
        yield from streaming_rows(args, streaming, preset, video, mesh, rates)
    for name in training:
        # The stage's own recipe, with this command's batch and type and no accumulation of
        # gradients.
        changes = [
            f"--config.run.batch={args.batch}",
            f"--config.run.dtype={args.dtype}",
            "--config.run.accumulate=1",
        ]
        recipe = read_recipe(cli.load_config(f"{name}:{preset.name}", changes))
        for part in training_parts(recipe, preset, mesh):
            yield part_row(part, args.seconds, rates, mesh)


def streaming_rows(
    args: argparse.Namespace,
    parts: Sequence[str],
    preset: Preset,
    video: VideoFormat,
    mesh: Mesh,
    rates: Roofline,
) -> Iterator[Row]:
    """Rows of the stream and of its parts, on one model with random weights."""
    model = random_model(preset, DTYPES[args.dtype], mesh, args.quantize)
    model = _with_savings(model, args)
    subject = BenchSubject(model, video, args.batch)
    for name in parts:
        if name == "stream":
            yield stream_row(subject, args.seconds)
            continue
        for part in PARTS[name](subject):
            yield part_row(part, args.seconds, rates, mesh)


def _with_savings(model: Model, args: argparse.Namespace) -> Model:
    """The model with the options that keep memory small."""
    return dataclasses.replace(
        model, cache_dtype=args.cache_dtype, decode_frames=args.decode_frames
    )


def part_row(part: BenchPart, seconds: float, rates: Roofline, mesh: Mesh) -> Row:
    """Times a part's program for so many seconds."""
    with jax.set_mesh(mesh):
        timing = timed(part.call(), seconds)
    # FLOP/s, of all devices together.
    rate = part.program.flops / timing.median
    return {
        "part": part.name,
        "variant": part.variant,
        "ms": 1e3 * timing.median,
        "calls": timing.calls,
        "first_s": timing.first,
        "gflop": part.program.flops / 1e9,
        "tflops": rate / 1e12,
        "of_matmul": rate / rates.matmul,
        "frames_per_s": part.frames / timing.median,
        "peak_device_bytes": peak_device_memory(),
    }


def stream_row(subject: BenchSubject, seconds: float) -> Row:
    """Times the whole stream."""
    found = stream_timing(subject, seconds)
    return {
        "part": "stream",
        "variant": f"{subject.batch} stories, {found.seconds:.0f} s",
        "frames_per_s": found.rate,
        "first_frames_cold_s": found.first_cold,
        "first_frames_warm_s": found.first_warm,
        "peak_device_bytes": peak_device_memory(),
    }


def chosen_parts(args: argparse.Namespace) -> list[str]:
    """The names of --parts; without it all that there are. Raises InputError for an unknown one."""
    usual = list(aot.COMPILED) if args.aot else [*PARTS, "stream", *RECIPES]
    known = [*usual, "decode"] if args.aot else usual
    if args.aot and args.decoder != OWN_DECODER:
        usual = known
    chosen = args.parts.split(",") if args.parts else usual
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise InputError(f"--parts {','.join(unknown)}: there are {', '.join(known)}")
    if args.parts and "decode" in chosen and not smaller_decoders(find_preset(args.preset).vae):
        raise InputError(f"--parts decode: no public decoder reads the latents of {args.preset}")
    training = [name for name in chosen if name in RECIPES]
    if args.quantize != "none" and training:
        raise InputError(
            f"--quantize {args.quantize} is for streaming: "
            f"leave {','.join(training)} out of --parts"
        )
    return chosen


def video_format(args: argparse.Namespace, preset: Preset) -> VideoFormat:
    """The preset's format with --size and --frames. Raises InputError for a wrong option."""
    height, width = picture_size(args)
    return VideoFormat(
        height or preset.video.height,
        width or preset.video.width,
        args.frames or preset.video.shot_frames,
    )


def picture_size(args: argparse.Namespace) -> tuple[int | None, int | None]:
    """Height and width of --size, None without it. Raises InputError for another form."""
    if not args.size:
        return None, None
    try:
        height, width = map(int, args.size.split("x"))
    except ValueError:
        raise InputError(f"--size {args.size}: write HEIGHTxWIDTH, e.g. 480x832") from None
    return height, width


def check_counts(args: argparse.Namespace) -> None:
    """Raises InputError if --batch or --seconds is too small."""
    if args.batch < 1 or (args.seconds is not None and args.seconds <= 0):
        raise InputError(
            f"--batch {args.batch} must be at least 1, and --seconds {args.seconds} more than 0"
        )


def make_bench_mesh(args: argparse.Namespace) -> Mesh:
    """The mesh of --mesh, over this machine's devices or those of --aot."""
    lengths = mesh_lengths(args.mesh)
    devices = aot_devices(args.aot) if args.aot else None
    return part_mesh(lengths, devices)


def mesh_lengths(text: str) -> Mapping[str, int]:
    """The lengths in "AXIS=N,…", by axis. Raises InputError if it has another form."""
    lengths: dict[str, int] = {}
    if not text:
        return lengths
    for pair in text.split(","):
        axis, _, length = pair.partition("=")
        try:
            lengths[axis] = int(length)
        except ValueError:
            raise InputError(f"--mesh {text}: write AXIS=N,…, e.g. fsdp=4,sequence=2") from None
    return lengths


def machine() -> Row:
    """The device, and the versions of what runs on it."""
    device = jax.devices()[0]
    versions = {}
    for name in ("shotstream-jax", "jax", "jaxlib", "flax"):
        versions[name] = installed_version(name)
    return {
        "device": f"{device.platform}: {device.device_kind}",
        "devices": len(jax.devices()),
        "cores": os.cpu_count(),
        "versions": versions,
    }


if __name__ == "__main__":
    cli.run(main)
