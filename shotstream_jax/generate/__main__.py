"""Stream a multi-shot story to an mp4, shot by shot.

  a story file       python -m shotstream_jax.generate --story examples/tiny/story.json --out out/story.mp4
  as you type        python -m shotstream_jax.generate --prompts - --global-caption "A cartoon about a green frog."
  on four devices    … --config.mesh.sequence=2 --config.mesh.tensor=2
  keep the story     … --save-story out/frog
  go back to after shot 2 and tell it differently
                     … --continue-story out/frog --at 2 --save-story out/frog2 --prompts -

The tiny model knows the words of the drawn world only (docs/world.md); others are named before its shot begins.

The mp4 grows while it is generated, under NAME.partial.mp4, and can be played at any moment.
"""

import argparse
import dataclasses
import itertools
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence

from absl import logging
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.checkpoint.load import load
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import check_writable
from shotstream_jax.core.sharding import MeshConfig, part_mesh
from shotstream_jax.generate.report import Report
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.stream import Chunk, check_mesh, stream_generate, warm_up
from shotstream_jax.media.video import VideoWriter
from shotstream_jax.model import Model
from shotstream_jax.presets import Preset, VideoFormat
from shotstream_jax.text.prompts import ask_lines, read_lines, read_script


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The fields of a streaming recipe."""

    checkpoint: str
    dtype: str
    quantize: str
    video: VideoFormat
    mesh: MeshConfig


def parser() -> cli.Parser:
    p = cli.make_parser("shotstream_jax.generate", __doc__)
    p.add_recipe()
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--story", metavar="FILE", help="JSON with global_caption, shot1, shot2, …")
    what.add_argument(
        "--prompts",
        metavar="FILE|-",
        help="one shot's caption a line; - reads them as they are typed",
    )
    p.add_argument(
        "--global-caption", default="", metavar="TEXT", help="what all shots share (with --prompts)"
    )
    p.add_argument(
        "--out",
        default="out/story.mp4",
        metavar="FILE.mp4",
        help="the video (default: %(default)s)",
    )
    p.add_argument("--report", metavar="FILE.json", help="timings, memory, versions")
    p.add_argument("--checkpoint", metavar="DIR|NAME", help="weights, in place of the recipe's")
    p.add_argument("--seed", type=int, help="same seed, same prompts: the same frames (default: 0)")
    p.add_argument(
        "--save-story", metavar="DIR", help="keep the story's memory here, after every shot"
    )
    p.add_argument(
        "--continue-story",
        metavar="DIR",
        help="go on with a kept story; the video has the new shots",
    )
    p.add_argument(
        "--at", type=int, metavar="N", help="… as it was after its first N shots (default: all)"
    )
    return p


def main(argv: Sequence[str]) -> None:
    # Whatever can be refused is refused before anything is computed or written.
    args, config = parser().parse(argv)
    recipe = cli.build(Recipe, config, "config")
    checkpoint = open_checkpoint(args.checkpoint or recipe.checkpoint)
    preset = checkpoint.preset
    script = read_script(args.story) if args.story else None
    story = open_story(
        args, preset, recipe.video, script.global_caption if script else args.global_caption
    )
    mesh = part_mesh(recipe.mesh.lengths())
    check_mesh(preset, mesh, story.video)
    mesh = (
        mesh if mesh.size > 1 else None
    )  # one device: the very programs of a model loaded without a mesh
    out = check_writable(args.out, ".mp4")
    report_path = check_writable(args.report, ".json") if args.report else None
    if typed := args.prompts == "-" and sys.stdin.isatty():
        logging.info("loading and compiling, so that the first frames come at once …")
        model = load(checkpoint, recipe.dtype, mesh, quantize=recipe.quantize)
        warm_up(model, story.video)
    shots, count = (
        (script.shots, len(script.shots))
        if script
        else read_prompts(args.prompts, story.next_shot + 1)
    )
    if not typed:
        model = load(checkpoint, recipe.dtype, mesh, quantize=recipe.quantize)
    if args.continue_story and forks(args):
        Story.fork(args.continue_story, story.next_shot, args.save_story)
    report = Report(model.preset.name, story.seed, model.origin)
    with logging_redirect_tqdm():
        write_video(model, story, shots, count, out, args.save_story, report)
    if report_path:
        report.write(report_path)
    result = report.as_dict()
    logging.info(
        "%s: %d shots, %d frames, %.1f frames/s",
        out,
        result["shots"],
        result["frames"],
        result["fps"],
    )


def read_prompts(source: str, shot: int) -> tuple[Iterable[str], int | None]:
    """Captions from a file, or as they are typed or piped in; and their number, where it can be known.

    The first one is waited for here, so that nothing is started for nothing.
    """
    if source == "-":
        ask = ask_lines(sys.stdin, sys.stderr, shot) if sys.stdin.isatty() else None
        lines = ask or read_lines(iter(sys.stdin.buffer.readline, b""), "standard input")
        first = next(lines, None)
        if first is None:
            raise InputError("no prompt came in: write one shot's caption a line")
        return itertools.chain([first], lines), None
    try:
        captions = list(read_lines(pathlib.Path(source).read_bytes().splitlines(), source))
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror}") from None
    if not captions:
        raise InputError(f"{source} has no prompts: write one shot's caption a line")
    return captions, len(captions)


def open_story(
    args: argparse.Namespace, preset: Preset, video: VideoFormat, global_caption: str
) -> Story:
    """A new story, or a kept one as it was after some shot. Changes nothing on disk."""
    if args.story and args.global_caption:
        raise InputError("--global-caption goes with --prompts; a story file has its own")
    if not args.continue_story:
        if args.at is not None:
            raise InputError("--at goes with --continue-story")
        story = Story(global_caption, args.seed or 0, preset.name, video, preset.memory.context)
    else:
        if args.seed is not None or any(
            override.startswith("--config.video") for override in args.overrides
        ):
            raise InputError(
                "a kept story has its own seed and format: leave --seed and --config.video out"
            )
        story = Story.load(args.continue_story, args.at)
        if global_caption not in ("", story.global_caption):
            raise InputError(
                f"the kept story's global caption is {story.global_caption!r}: use it, or leave it out"
            )
    story.check(preset)
    if args.save_story:
        story.check_folder(args.save_story)
        if forks(args) and os.path.isdir(args.save_story) and os.listdir(args.save_story):
            raise InputError(f"{args.save_story} is not empty: continue the story in a new folder")
    return story


def forks(args: argparse.Namespace) -> bool:
    """A kept story that is continued elsewhere is copied there first."""
    kept, save = args.continue_story, args.save_story
    return bool(kept and save) and pathlib.Path(kept).resolve() != pathlib.Path(save).resolve()


def write_video(
    model: Model,
    story: Story,
    shots: Iterable[str],
    count: int | None,
    out: pathlib.Path,
    save_story: str | None,
    report: Report,
) -> None:
    """Streams the shots into the file, the report and, after every shot, the story's folder."""
    chunks = stream_generate(model, shots, story=story)
    with VideoWriter(out, story.video.fps) as writer:
        for chunk in with_progress(
            chunks, story.video.shot_frames // model.preset.memory.chunk, story, count
        ):
            writer.write(chunk.frames)
            report.add(chunk)
            if chunk.story and save_story:
                chunk.story.save(save_story)


def with_progress(
    chunks: Iterator[Chunk], a_shot: int, story: Story, count: int | None
) -> Iterator[Chunk]:
    """A bar for every shot: chunks, frames/s, time to the first frames."""
    last = f"/{story.next_shot + count}" if count else ""
    bar, frames, seconds = None, 0, 0.0
    for chunk in chunks:
        if chunk.chunk == 0:
            bar, frames, seconds = (
                tqdm(total=a_shot, unit="chunk", desc=f"shot {chunk.shot + 1}{last}"),
                0,
                0.0,
            )
            first = chunk.seconds
        frames, seconds = frames + len(chunk.frames), seconds + chunk.seconds
        bar.set_postfix_str(
            f"{frames / seconds:.1f} frames/s, first frames after {first:.2f} s", refresh=False
        )
        bar.update()
        if chunk.story:
            bar.close()
        yield chunk


if __name__ == "__main__":
    cli.run(main)
