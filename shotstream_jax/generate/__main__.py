"""Stream a multi-shot story to an mp4, shot by shot.

  a story file       shotstream generate --story examples/tiny/story.json
  as you type        shotstream generate --prompts - --global-caption "A cartoon about a frog."
  from a picture     … --picture frog.jpg
  a faster decoder   … --decoder taehv
  on a small GPU     … --memory auto, the default, says what it chose (shotstream plan explains)
  on four devices    … --config.mesh.sequence=2 --config.mesh.tensor=2
  in a style         … --style film.safetensors:0.6 (LoRA; docs/stories.md)
  keep the story     … --save-story out/frog
  go back to after shot 2 and continue it differently
                     … --continue-story out/frog --at 2 --save-story out/frog2 --prompts -
  go on after an interruption, by the same command
                     … --story story.json --out out/long.mp4 --save-story out/long --resume

As you type, /help lists what else can be done: other takes, cuts, another caption in mid-shot,
frames that stay, going back (docs/stories.md, In the terminal). A script's lines can do the same.

The tiny model knows the words of the drawn world only (docs/world.md); others are named before its
shot begins. The mp4 grows while it is generated, under NAME.partial.mp4, and can be played at any
moment; an interrupted run leaves it there, and the next run moves it to NAME.partial-2.mp4. When
it is complete it becomes an ordinary mp4 with its index at the front. --out also takes other ends.

Ctrl-C ends after the chunk that is being computed, a second one at once; both keep the film and the
story so far (exit code 130). As you type, the first one ends the running shot, and the second one
the telling. --resume encodes the pictures of the finished shots once more.
"""

import argparse
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable, Sequence

from absl import logging
from jax.sharding import Mesh
from tqdm.contrib.logging import logging_redirect_tqdm

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.checkpoint.trained_for import doubts
from shotstream_jax.core.gpu_memory import memory_errors
from shotstream_jax.core.sharding import part_mesh
from shotstream_jax.generate.asked import Picture
from shotstream_jax.generate.begin import first_picture, is_forked, open_story, with_picture
from shotstream_jax.generate.check import check_stream_mesh
from shotstream_jax.generate.film import with_progress, write_chunks, write_earlier_shots
from shotstream_jax.generate.interrupt import Interrupts, watched_interrupts
from shotstream_jax.generate.options import (
    add_output_options,
    add_prompt_options,
    add_story_options,
    add_weights_options,
)
from shotstream_jax.generate.outputs import (
    OutputFiles,
    input_files,
    keep_unfinished,
    output_files,
    outputs_held,
)
from shotstream_jax.generate.prompts_in import is_typed, load_and_ask, read_request
from shotstream_jax.generate.recipe import StreamRecipe, load_styled, options_for_this_gpu
from shotstream_jax.generate.report import Report
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.storyteller.session import KIND, Request, tell_story
from shotstream_jax.generate.stream import stream_generate
from shotstream_jax.media.folder import film_writer
from shotstream_jax.media.formats import enlargement
from shotstream_jax.model import Model
from shotstream_jax.presets import Preset
from shotstream_jax.styles import read_styles

REMEDY = (
    "see what fits by `shotstream plan --config …` and add the options that it names, or take a "
    "smaller --config.video.height and width"
)


def parser() -> cli.Parser:
    """The options."""
    p = cli.make_parser("shotstream_jax.generate", __doc__)
    p.add_recipe()
    add_prompt_options(p)
    add_output_options(p)
    add_weights_options(p)
    add_story_options(p)
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command."""
    with memory_errors(REMEDY):
        _generate(argv)


def _generate(argv: Sequence[str]) -> None:
    """The command: what can be refused is refused before anything is computed or written."""
    args, config = parser().parse(argv)
    recipe = cli.build(StreamRecipe, config, "config")
    checkpoint = open_checkpoint(args.checkpoint or recipe.checkpoint)
    options = recipe.options()
    if args.decoder:
        options = dataclasses.replace(options, decoder=args.decoder)
    checkpoint.decoder(options.decoder)
    # The captions of a file are all known now; those that are typed are not.
    global_caption, captions = read_request(args)
    rule = args.context_rule or recipe.context_rule
    styles = read_styles(args.style, checkpoint.preset)
    story = open_story(args, checkpoint, recipe.video, global_caption, captions, rule, styles)
    picture = first_picture(args, story)
    mesh = _stream_mesh(recipe, checkpoint.preset, story)
    files = output_files(args)
    scale = enlargement(args.scale, story.video.height, story.video.width)
    inputs = input_files(args, checkpoint.vocabulary.parent)
    with outputs_held(files, inputs, args.overwrite), watched_interrupts() as interrupts:
        if mesh is None:
            options = options_for_this_gpu(checkpoint.preset, story.video, options, args.memory)
        for line in doubts(checkpoint, story.video):
            logging.warning(line)
        load_model = functools.partial(load_styled, checkpoint, mesh, options, styles)
        if captions is None and files.video.suffix == KIND:
            _tell(args, story, picture, load_model, files, scale, interrupts)
        else:
            _stream(args, story, captions, picture, load_model, files, scale)


def _tell(
    args: argparse.Namespace,
    story: Story,
    picture: Picture | None,
    load_model: Callable[[], Model],
    files: OutputFiles,
    scale: int,
    interrupts: Interrupts,
) -> None:
    """Tells the story as a person, or a script, writes its lines.

    picture: of the first shot. scale: the film's (media/video).
    """
    kept_in = args.save_story if is_forked(args) else args.continue_story

    def begin() -> Model:
        """The model, once there is something to do: only now anything on the disk changes."""
        model = load_model()
        if is_forked(args):
            fork_kept_story(args, story)
        if not args.overwrite:
            keep_unfinished(files.video)
        return model

    begins_in = pathlib.Path(kept_in) if kept_in else None
    request = Request(story, begins_in, picture, files, scale, is_typed())
    report = tell_story(request, begin, interrupts)
    if report.chunks and files.report:
        report.write(files.report)


def _stream(
    args: argparse.Namespace,
    story: Story,
    captions: Sequence[str] | None,
    picture: Picture | None,
    load_model: Callable[[], Model],
    files: OutputFiles,
    scale: int,
) -> None:
    """Loads the model, and streams the story into the files.

    picture: of the first shot. scale: the film's (media/video).
    """
    # 1. The model, and where the captions come from.
    shots: Iterable[str]
    if captions is None:
        model, shots = load_and_ask(load_model, story)
        count: int | None = None
    else:
        # Of an interrupted run only the shots that it lacks.
        rest = captions[story.next_shot :] if args.resume else captions
        shots = rest
        count = len(rest)
        model = load_model()

    # 2. What is there already: a kept story to be copied, an unfinished film.
    if is_forked(args):
        fork_kept_story(args, story)
    unfinished = None
    if args.resume or not args.overwrite:
        unfinished = keep_unfinished(files.video)

    # 3. The story, shot by shot.
    report = Report(model.preset.name, story.seed, model.described)
    film = film_writer(files.video, story.video.fps, scale)
    with logging_redirect_tqdm(), film as writer:
        if args.resume and story.shots:
            write_earlier_shots(writer, unfinished, story, files)
        chunks = stream_generate(model, with_picture(shots, picture), story=story)
        chunks_per_shot = story.video.shot_frames // model.preset.memory.chunk
        shown = with_progress(chunks, chunks_per_shot, story, count)
        write_chunks(writer, shown, story, files, report, _way_on(args))
    report.film = writer.facts()
    if files.report:
        report.write(files.report)
    result = report.as_dict()
    logging.info(
        "%s: %d × %d pixels, %d shots, %d frames, %.1f frames/s",
        report.film["path"],
        report.film["width"],
        report.film["height"],
        result["shots"],
        result["frames"],
        result["fps"],
    )


def fork_kept_story(args: argparse.Namespace, story: Story) -> None:
    """Copies the kept story that is continued into the folder where it goes on."""
    weights = story.fingerprint if args.other_weights else None
    Story.fork(args.continue_story, story.next_shot, args.save_story, weights)


def _stream_mesh(recipe: StreamRecipe, preset: Preset, story: Story) -> Mesh | None:
    """The recipe's mesh; None for one device, which runs the programs of a model without a mesh."""
    mesh = part_mesh(recipe.mesh.lengths())
    check_stream_mesh(preset, mesh, story.video)
    return mesh if mesh.size > 1 else None


def _way_on(args: argparse.Namespace) -> str:
    """The options by which this run, once interrupted, is gone on with."""
    if args.prompts == "-" or args.continue_story:
        return f"--continue-story {args.save_story} --save-story {args.save_story}"
    return "the same command with --resume"


if __name__ == "__main__":
    cli.run(main)
