"""Stream a multi-shot story to an mp4, shot by shot.

  a story file       shotstream generate --story examples/tiny/story.json --out out/story.mp4
  as you type        shotstream generate --prompts - --global-caption "A cartoon about a frog."
  a faster decoder   … --decoder taehv
  on a small GPU     … --memory auto, the default, says what it chose (shotstream plan explains)
  on four devices    … --config.mesh.sequence=2 --config.mesh.tensor=2
  keep the story     … --save-story out/frog
  go back to after shot 2 and continue it differently
                     … --continue-story out/frog --at 2 --save-story out/frog2 --prompts -

The tiny model knows the words of the drawn world only (docs/world.md); others are named before its
shot begins. The mp4 grows while it is generated, under NAME.partial.mp4, and can be played at any
moment.
"""

import argparse
import dataclasses
import itertools
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence

from absl import logging
from jax.sharding import Mesh
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.checkpoint.load import load
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import check_writable
from shotstream_jax.core.gpu_memory import memory_errors
from shotstream_jax.core.sharding import part_mesh
from shotstream_jax.generate.recipe import MEMORY_CHOICES, StreamRecipe, options_for_this_gpu
from shotstream_jax.generate.report import Report
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.stream import (
    Chunk,
    check_stream_mesh,
    stream_generate,
    warm_up,
)
from shotstream_jax.media.video import VideoWriter
from shotstream_jax.model import Model
from shotstream_jax.presets import DECODERS, Preset, VideoFormat
from shotstream_jax.text.prompts import ask_lines, read_captions, read_lines, read_script

REMEDY = (
    "see what fits by `shotstream plan --config …` and add the options that it names, or take a "
    "smaller --config.video.height and width"
)


def parser() -> cli.Parser:
    """The options."""
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
        "--global-caption",
        default="",
        metavar="TEXT",
        help="what all shots share (with --prompts)",
    )
    p.add_argument(
        "--out",
        default="out/story.mp4",
        metavar="FILE.mp4",
        help="the video (default: %(default)s)",
    )
    p.add_argument("--report", metavar="FILE.json", help="timings, memory, versions")
    p.add_argument("--checkpoint", metavar="DIR|NAME", help="weights, in place of the recipe's")
    p.add_argument(
        "--decoder",
        choices=DECODERS,
        help="what makes the frames that are shown, in place of the recipe's (docs/performance.md)",
    )
    p.add_argument(
        "--memory",
        choices=MEMORY_CHOICES,
        default="auto",
        help="on a GPU that is too small for the recipe as it is: choose the cheapest options that "
        "fit (auto, the default), or try it all the same (full)",
    )
    p.add_argument("--seed", type=int, help="same seed, same prompts: the same frames (default: 0)")
    p.add_argument(
        "--save-story",
        metavar="DIR",
        help="keep the story's memory here, after every shot",
    )
    p.add_argument(
        "--continue-story",
        metavar="DIR",
        help="go on with a kept story; the video has the new shots",
    )
    p.add_argument(
        "--at",
        type=int,
        metavar="N",
        help="with --continue-story: as it was after its first N shots (default: all)",
    )
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command."""
    with memory_errors(REMEDY):
        _generate(argv)


def _generate(argv: Sequence[str]) -> None:
    """The command, in three steps."""
    # 1. Whatever can be refused is refused before anything is computed or written.
    args, config = parser().parse(argv)
    recipe = cli.build(StreamRecipe, config, "config")
    checkpoint = open_checkpoint(args.checkpoint or recipe.checkpoint)
    preset = checkpoint.preset
    options = recipe.options()
    if args.decoder:
        options = dataclasses.replace(options, decoder=args.decoder)
    checkpoint.decoder(options.decoder)
    script = read_script(args.story) if args.story else None
    global_caption = script.global_caption if script else args.global_caption
    story = open_story(args, preset, recipe.video, global_caption)
    mesh = _stream_mesh(recipe, preset, story)
    out = check_writable(args.out, ".mp4")
    report_path = check_writable(args.report, ".json") if args.report else None
    if mesh is None:
        options = options_for_this_gpu(preset, story.video, options, args.memory)

    # 2. The model, compiled while a person is still thinking of the first prompt.
    is_typed = args.prompts == "-" and _is_typed()
    if is_typed:
        logging.info("loading and compiling, so that the first frames come at once …")
        model = load(checkpoint, mesh=mesh, **dataclasses.asdict(options))
        warm_up(model, story.video)
    shots: Iterable[str]
    count: int | None
    if script:
        shots = script.shots
        count = len(script.shots)
    else:
        shots, count = read_prompts(args.prompts, story.next_shot + 1)
    if not is_typed:
        model = load(checkpoint, mesh=mesh, **dataclasses.asdict(options))

    # 3. The story, shot by shot.
    if args.continue_story and _is_forked(args):
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


def _stream_mesh(recipe: StreamRecipe, preset: Preset, story: Story) -> Mesh | None:
    """The recipe's mesh; None for one device, which runs the programs of a model without a mesh."""
    mesh = part_mesh(recipe.mesh.lengths())
    check_stream_mesh(preset, mesh, story.video)
    return mesh if mesh.size > 1 else None


def read_prompts(source: str, shot: int) -> tuple[Iterable[str], int | None]:
    """Captions from a file, or as they are typed or piped in; and their number, if it can be known.

    The first caption is waited for here, so that nothing is started for nothing.

    Args:
      source: a file, or - for standard input.
      shot: the number of the first shot, from 1.
    """
    # Typed or piped: the number of prompts is not known.
    if source == "-":
        lines = _typed_prompts(shot)
        first = next(lines, None)
        if first is None:
            raise InputError("no prompt came in: write one shot's caption a line")
        return itertools.chain([first], lines), None
    # A file is read as a whole, so a mistake in it is found before the first shot.
    captions = read_captions(source)
    return captions, len(captions)


def _typed_prompts(shot: int) -> Iterator[str]:
    """Captions from standard input; a person at a terminal is asked for each."""
    if _is_typed():
        return ask_lines(sys.stdin, sys.stderr, shot)
    lines = iter(sys.stdin.buffer.readline, b"")
    return read_lines(lines, "standard input")


def _is_typed() -> bool:
    """Whether a person types on standard input. Raises InputError if it is closed."""
    if sys.stdin is None:
        raise InputError("standard input is closed: give the prompts as a file, --prompts FILE")
    return sys.stdin.isatty()


def open_story(
    args: argparse.Namespace, preset: Preset, video: VideoFormat, global_caption: str
) -> Story:
    """A new story, or a kept one as it was after some shot. Changes nothing on disk."""
    if args.story and args.global_caption:
        raise InputError("--global-caption goes with --prompts; a story file has its own")
    if args.continue_story:
        story = _open_kept_story(args, global_caption)
    elif args.at is not None:
        raise InputError("--at goes with --continue-story")
    else:
        seed = args.seed or 0
        story = Story(global_caption, seed, preset.name, video, preset.memory.context)
    # The model must be able to go on with it, and the folder to keep what comes.
    story.check(preset)
    if args.save_story:
        story.check_folder(args.save_story)
        if _is_forked(args) and os.path.isdir(args.save_story) and os.listdir(args.save_story):
            raise InputError(f"{args.save_story} is not empty: continue the story in a new folder")
    return story


def _open_kept_story(args: argparse.Namespace, global_caption: str) -> Story:
    """A story from its folder, if nothing contradicts what it was made with."""
    changes_video = any(override.startswith("--config.video") for override in args.overrides)
    if args.seed is not None or changes_video:
        raise InputError(
            "a kept story has its own seed and format: leave --seed and --config.video out"
        )
    story = Story.load(args.continue_story, args.at)
    if global_caption not in ("", story.global_caption):
        raise InputError(
            f"the kept story's global caption is {story.global_caption!r}: use it, or leave it out"
        )
    return story


def _is_forked(args: argparse.Namespace) -> bool:
    """Whether a kept story is continued in another folder; it is copied there first."""
    if not args.continue_story or not args.save_story:
        return False
    kept = pathlib.Path(args.continue_story).resolve()
    return kept != pathlib.Path(args.save_story).resolve()


def write_video(
    model: Model,
    story: Story,
    shots: Iterable[str],
    count: int | None,
    out: pathlib.Path,
    save_story: str | None,
    report: Report,
) -> None:
    """Streams the shots into the file, the report and, after every shot, the story's folder.

    count: how many shots there are, if it is known.
    """
    # Each chunk is in the file before the next one is waited for.
    chunks = stream_generate(model, shots, story=story)
    chunks_per_shot = story.video.shot_frames // model.preset.memory.chunk
    with VideoWriter(out, story.video.fps) as writer:
        for chunk in with_progress(chunks, chunks_per_shot, story, count):
            writer.write(chunk.frames)
            report.add(chunk)
            if chunk.story and save_story:
                chunk.story.save(save_story)


def with_progress(
    chunks: Iterator[Chunk], chunks_per_shot: int, story: Story, count: int | None
) -> Iterator[Chunk]:
    """The chunks, with a bar for every shot: chunks, frames/s, time to the first frames."""
    last = f"/{story.next_shot + count}" if count else ""
    for first in chunks:
        # One round of this loop is a shot: `first` is its first chunk.
        title = f"shot {first.shot + 1}{last}"
        frames = 0
        seconds = 0.0
        with tqdm(total=chunks_per_shot, unit="chunk", desc=title) as bar:
            for chunk in itertools.chain([first], chunks):
                frames += len(chunk.frames)
                seconds += chunk.seconds
                bar.set_postfix_str(
                    f"{frames / seconds:.1f} frames/s, first frames after {first.seconds:.2f} s",
                    refresh=False,
                )
                bar.update()
                yield chunk
                if chunk.story:
                    break


if __name__ == "__main__":
    cli.run(main)
