"""How fast every part runs on this machine, and how near to what its device can do.

  everything, at tiny size             python -m shotstream_jax.bench
  the paper's size on an accelerator   python -m shotstream_jax.bench --preset wan-1.3b --dtype bfloat16
  some parts, a smaller picture        … --preset wan-1.3b --parts dit,vae --size 240x416
  a stream over four devices           … --parts chunk,stream --mesh sequence=2,tensor=2
  on a TPU slice that is not there     … --preset wan-1.3b --dtype bfloat16 --aot v5p:2x2x1 --mesh sequence=2,tensor=2
  training steps over a mesh           … --parts teacher --batch 8 --mesh fsdp=4,sequence=2

Weights are random, made on the device: no checkpoint is read. Times are medians. FLOPs are those of matmuls and
convolutions, counted by formula; "of matmul" is the share of what one large matmul of this --dtype reaches there.
--aot times nothing: what the stream's programs need, and the most that they could do (docs/performance.md).
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from shotstream_jax import cli
from shotstream_jax.aot.compile import slice_devices
from shotstream_jax.bench import aot
from shotstream_jax.bench.measure import Roofline, peak_device_memory, roofline, timed
from shotstream_jax.bench.parts import PARTS, Part, Subject
from shotstream_jax.bench.stream import stream_timing
from shotstream_jax.bench.training import training_parts
from shotstream_jax.checkpoint.load import DTYPES
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_whole
from shotstream_jax.core.sharding import param_shardings, part_mesh, with_shardings
from shotstream_jax.model import PARTS as MODEL_PARTS
from shotstream_jax.model import Model, Params, compute_params, init_part
from shotstream_jax.nn import attention, quantize
from shotstream_jax.presets import PRESETS, Preset, VideoFormat, find_preset
from shotstream_jax.text.tokenizer import ByteTokenizer
from shotstream_jax.train.__main__ import STAGES, read_recipe

Row = dict[str, Any]


def parser() -> cli.Parser:
    p = cli.make_parser("shotstream_jax.bench", __doc__)
    choices = [*PARTS, "stream", *STAGES]
    p.add_argument(
        "--preset",
        default="tiny",
        choices=list(PRESETS),
        help="the model's size (default: %(default)s)",
    )
    p.add_argument("--parts", metavar="PART,…", help=f"some of {','.join(choices)} (default: all)")
    p.add_argument("--size", metavar="HEIGHTxWIDTH", help="of the picture (default: the preset's)")
    p.add_argument(
        "--frames", type=int, metavar="N", help="latent frames a shot (default: the preset's)"
    )
    p.add_argument(
        "--batch",
        type=int,
        default=1,
        metavar="N",
        help="stories side by side (default: %(default)s)",
    )
    p.add_argument(
        "--dtype",
        default="float32",
        choices=list(DTYPES),
        help="of the matmuls (default: %(default)s)",
    )
    p.add_argument(
        "--quantize",
        default="none",
        choices=quantize.CHOICES,
        help="8-bit matmuls in the stream's blocks",
    )
    p.add_argument(
        "--attention",
        choices=attention.FORMS,
        help="this form of attention (default: the device's own)",
    )
    p.add_argument(
        "--mesh",
        default="",
        metavar="AXIS=N,…",
        help="the first devices, along data, fsdp, sequence, tensor",
    )
    p.add_argument(
        "--seconds",
        type=float,
        default=5,
        metavar="S",
        help="spent on each line (default: %(default)s)",
    )
    p.add_argument(
        "--aot", metavar="SLICE", help="compile the stream for a TPU slice that need not be there"
    )
    p.add_argument(
        "--json",
        metavar="FILE",
        help="a JSON line for every line of the table, with device and versions",
    )
    return p


def main(argv: Sequence[str]) -> None:
    args = parser().parse_args(argv)
    known = aot.COMPILED if args.aot else (*PARTS, "stream", *STAGES)
    parts = chosen_parts(args.parts.split(",") if args.parts else known, known)
    if args.quantize != "none" and (training := [name for name in parts if name in STAGES]):
        raise InputError(
            f"--quantize {args.quantize} is for streaming: leave {','.join(training)} out of --parts"
        )
    preset = find_preset(args.preset)
    video = video_format(args, preset)
    mesh = part_mesh(
        mesh_lengths(args.mesh) if args.mesh else {}, slice_devices(args.aot) if args.aot else None
    )
    preset.check_mesh(mesh.shape, preset.latent_grid(video))
    quantize.check_quantize(args.quantize, mesh.devices.flat[0])
    if args.attention:
        os.environ[attention.FORM_VARIABLE] = args.attention
    if args.aot:
        model = abstract_model(preset, DTYPES[args.dtype], mesh, args.quantize)
        aot.report(Subject(model, video, args.batch, abstract=True), parts, args.aot, args.json)
        return
    use_persistent_cache()
    rates = roofline(DTYPES[args.dtype], min(args.seconds, 3))
    about = {
        "preset": preset.name,
        "height": video.height,
        "width": video.width,
        "shot_frames": video.shot_frames,
    }
    about |= {
        "batch": args.batch,
        "dtype": args.dtype,
        "quantize": args.quantize,
        "mesh": args.mesh,
    }
    about |= machine() | {"attention": args.attention or "default"}
    about |= {"matmul_tflops": rates.matmul / 1e12, "copy_gb_s": rates.copy / 1e9}
    say_head(about)
    rows = []
    for row in measure(args, parts, preset, video, mesh, rates):
        rows.append(about | row)
        say_row(row)
    if args.json:
        write_whole(
            pathlib.Path(args.json), "".join(json.dumps(row) + "\n" for row in rows).encode()
        )


def measure(
    args: argparse.Namespace,
    parts: Sequence[str],
    preset: Preset,
    video: VideoFormat,
    mesh: Mesh,
    rates: Roofline,
) -> Iterator[Row]:
    """A row for every measurement."""
    if streaming := [name for name in parts if name not in STAGES]:
        subject = Subject(
            random_model(preset, DTYPES[args.dtype], mesh, args.quantize), video, args.batch
        )
        for name in streaming:
            if name == "stream":
                yield stream_row(subject, args.seconds)
            else:
                yield from (
                    part_row(part, args.seconds, rates, mesh) for part in PARTS[name](subject)
                )
        del subject  # its memory is the training steps' from here on
    for name in (name for name in parts if name in STAGES):
        changes = [
            f"--config.run.batch={args.batch}",
            f"--config.run.dtype={args.dtype}",
            "--config.run.accumulate=1",
        ]
        recipe = read_recipe(cli.load_config(f"{name}:{preset.name}", changes))
        yield from (
            part_row(part, args.seconds, rates, mesh)
            for part in training_parts(recipe, preset, mesh)
        )


def part_row(part: Part, seconds: float, rates: Roofline, mesh: Mesh) -> Row:
    with jax.set_mesh(mesh):
        timing = timed(part.call(), seconds)
    rate = part.program.flops / timing.median
    row = {
        "part": part.name,
        "variant": part.variant,
        "ms": 1e3 * timing.median,
        "calls": timing.calls,
    }
    row |= {"first_s": timing.first, "gflop": part.program.flops / 1e9, "tflops": rate / 1e12}
    row["of_matmul"] = rate / rates.matmul
    row["frames_per_s"] = part.frames / timing.median
    return row | {"peak_device_bytes": peak_device_memory()}


def stream_row(subject: Subject, seconds: float) -> Row:
    found = stream_timing(subject, seconds)
    row = {
        "part": "stream",
        "variant": f"{subject.batch} stories, {found.seconds:.0f} s",
        "frames_per_s": found.rate,
    }
    row |= {"first_frames_cold_s": found.first_cold, "first_frames_warm_s": found.first_warm}
    return row | {"peak_device_bytes": peak_device_memory()}


def random_model(preset: Preset, dtype: Any, mesh: Mesh, to: str) -> Model:
    """Fresh weights, each made where it lies."""
    places = jax.tree.map(lambda a: a.sharding, abstract_model(preset, dtype, mesh, to).params)
    params = {
        part: jax.jit(_fresh(preset, part, dtype, to), out_shardings=places[part])()
        for part in MODEL_PARTS
    }
    return Model(preset, params, ByteTokenizer(), dtype, "random")


def abstract_model(preset: Preset, dtype: Any, mesh: Mesh, to: str) -> Model:
    """Its parameters are shapes with their shardings."""
    shapes = {part: jax.eval_shape(_fresh(preset, part, dtype, to)) for part in MODEL_PARTS}
    params = {
        part: with_shardings(tree, param_shardings(mesh, part, tree))
        for part, tree in shapes.items()
    }
    return Model(preset, params, ByteTokenizer(), dtype, "abstract")


def _fresh(preset: Preset, part: str, dtype: Any, to: str) -> Callable[[], Params]:
    fresh = lambda: compute_params(init_part(preset, part, jax.random.key(0)), dtype)  # noqa: E731
    return (lambda: quantize.quantize_blocks(fresh(), to)) if part == "dit" else fresh


def chosen_parts(chosen: Sequence[str], known: Sequence[str]) -> list[str]:
    if unknown := [name for name in chosen if name not in known]:
        raise InputError(f"--parts {','.join(unknown)}: there are {', '.join(known)}")
    return list(chosen)


def video_format(args: argparse.Namespace, preset: Preset) -> VideoFormat:
    height, width, frames = (
        preset.video.height,
        preset.video.width,
        args.frames or preset.video.shot_frames,
    )
    if args.size:
        try:
            height, width = map(int, args.size.split("x"))
        except ValueError:
            raise InputError(
                f"--size {args.size}: write HEIGHTxWIDTH, e.g. {height}x{width}"
            ) from None
    if args.batch < 1 or args.seconds <= 0:
        raise InputError(
            f"--batch {args.batch} must be at least 1, and --seconds {args.seconds} more than 0"
        )
    return VideoFormat(height, width, frames)


def mesh_lengths(text: str) -> dict[str, int]:
    try:
        pairs = (pair.split("=") for pair in text.split(","))
        return {axis: int(length) for axis, length in pairs}
    except ValueError:
        raise InputError(f"--mesh {text}: write AXIS=N,…, e.g. fsdp=4,sequence=2") from None


def machine() -> Row:
    device = jax.devices()[0]
    versions = {
        name: importlib.metadata.version(name)
        for name in ("shotstream-jax", "jax", "jaxlib", "flax")
    }
    about = {"device": f"{device.platform}: {device.device_kind}", "devices": len(jax.devices())}
    return about | {"cores": os.cpu_count(), "versions": versions}


def say_head(about: Row) -> None:
    cli.say(
        f"{about['device']}, {about['devices']} device(s), {about['cores']} cores; jax {about['versions']['jax']}"
    )
    size = f"{about['height']}×{about['width']}, {about['shot_frames']} latent frames a shot"
    kind = (
        about["dtype"]
        if about["quantize"] == "none"
        else f"{about['dtype']} and {about['quantize']}"
    )
    cli.say(
        f"{about['preset']}, {size}, {about['batch']} stories, {kind}; attention: {about['attention']}"
    )
    cli.say(
        f"a large matmul: {about['matmul_tflops']:.3g} TFLOP/s; a large copy: {about['copy_gb_s']:.3g} GB/s\n"
    )
    cli.say(
        f"{'part':16}{'':28}{'ms':>10}{'first s':>9}{'GFLOP':>10}{'TFLOP/s':>9}{'of matmul':>11}{'frames/s':>10}"
    )


def say_row(row: Row) -> None:
    if row["part"] == "stream":
        first = f"first frames after {row['first_frames_cold_s']:.2f} s cold, {row['first_frames_warm_s']:.3f} s warm"
        cli.say(f"{row['part']:16}{row['variant']:28}{first:>49}{row['frames_per_s']:>10.1f}")
    else:
        share, rate = (
            f"{100 * row['of_matmul']:.0f} %",
            f"{row['frames_per_s']:.1f}" if row["frames_per_s"] else "",
        )
        cli.say(
            f"{row['part']:16}{row['variant']:28}{row['ms']:>10.4g}{row['first_s']:>9.2f}{row['gflop']:>10.4g}"
            f"{row['tflops']:>9.3g}{share:>11}{rate:>10}"
        )
    sys.stdout.flush()


if __name__ == "__main__":
    cli.run(main)
