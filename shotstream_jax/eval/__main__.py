"""Score generated stories of the drawn world: JSON, and a table.

  shotstream eval --config tiny --stories 100 --shots 5 --out out/eval.json
  … --config.checkpoint=out/tiny/dmd_inter/model --sheet out/eval.png
  … --config.checkpoint=tiny-teacher --source teacher --guidance 1 --context-guidance 3
                                  by a teacher's sampler
  … --source reconstructed        drawn, and through the checkpoint's autoencoder: the ceiling
  … --source rendered             drawn: what the probe and the cut detector themselves get wrong
  … --context other               later shots see the earlier shots of another take of the story
                                  (none: no earlier shots, first: their first frames only)
  … --shots 20                    long stories; `drift` is the last shot's figure less the
                                  second one's

The stories are of the world's `test` split. docs/eval.md says what each number means.
"""

import dataclasses
import pathlib
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import numpy as np

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import Checkpoint, open_checkpoint
from shotstream_jax.checkpoint.load import load
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import check_writable
from shotstream_jax.core.progress import progress_bar
from shotstream_jax.core.rng import check_seed
from shotstream_jax.eval import sources
from shotstream_jax.eval.cuts import check_scenedetect
from shotstream_jax.eval.labels import Labels, shot_truth
from shotstream_jax.eval.metrics import chance_levels
from shotstream_jax.eval.probe_files import SHIPPED, ShotFormat, load_probe, shot_format_of
from shotstream_jax.eval.reading import Reader, oracle_scores
from shotstream_jax.eval.report import (
    ScoredStory,
    score_story,
    summarise,
    summary_table,
    write_results,
)
from shotstream_jax.generate.recipe import StreamRecipe
from shotstream_jax.generate.sampler import Guidance, SamplerConfig
from shotstream_jax.media.pictures import write_png
from shotstream_jax.presets import VideoFormat
from shotstream_jax.vae.model import VAE
from shotstream_jax.world.plot import SUBSETS, WorldConfig
from shotstream_jax.world.render import MAX_ROLES, Film, render_shot
from shotstream_jax.world.sheet import contact_sheet
from shotstream_jax.world.source import WorldSource
from shotstream_jax.world.story import SPLITS

# The choices of --source.
GENERATED = "generated"
TEACHER = "teacher"
RECONSTRUCTED = "reconstructed"
RENDERED = "rendered"

# The choices of --context: those that change the story's history, and another take of the story.
HISTORIES = {
    "own": sources.keep_history,
    "first": sources.keep_first_frames,
    "none": sources.drop_history,
}
OTHER_TAKE = "other"

# The options that go with --source teacher, and their defaults.
SAMPLER_DEFAULTS = {"guidance": 5.0, "context_guidance": 0.0, "sampler_steps": 50}

# Stories on the sheet, moments of each shot, and pixels for a pixel.
SHEET_STORIES = 3
SHEET_COLUMNS = 7
SHEET_SCALE = 3


def parser() -> cli.Parser:
    """The command's options."""
    p = cli.make_parser("shotstream_jax.eval", __doc__)
    p.add_recipe()
    p.add_argument("--checkpoint", metavar="DIR|NAME", help="weights, in place of the recipe's")
    p.add_argument(
        "--stories",
        type=int,
        default=100,
        metavar="N",
        help="how many (default: %(default)s)",
    )
    p.add_argument(
        "--shots",
        type=int,
        default=5,
        metavar="N",
        help="of each story (default: %(default)s)",
    )
    p.add_argument(
        "--source",
        choices=(GENERATED, TEACHER, RECONSTRUCTED, RENDERED),
        default=GENERATED,
        help="of the pictures",
    )
    p.add_argument(
        "--context",
        choices=[*HISTORIES, OTHER_TAKE],
        default="own",
        help="the earlier shots that a shot sees",
    )
    _add_sampler_options(p)
    p.add_argument(
        "--subset",
        choices=list(SUBSETS),
        default="simple",
        help="of the world (default: %(default)s)",
    )
    p.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of the generated pictures (default: %(default)s)",
    )
    _add_file_options(p)
    return p


def _add_file_options(p: cli.Parser) -> None:
    """What is read and written beside the model."""
    p.add_argument(
        "--probe",
        default=str(SHIPPED),
        metavar="FILE.safetensors",
        help="(default: the shipped one)",
    )
    p.add_argument(
        "--out",
        default="out/eval.json",
        metavar="FILE.json",
        help="(default: %(default)s)",
    )
    p.add_argument(
        "--sheet", metavar="FILE.png", help="a picture of the first stories: shots as rows"
    )


def _add_sampler_options(p: cli.Parser) -> None:
    """The teacher's options. They default to None, so that it is known which were given."""
    group = p.add_argument_group("the teacher's sampler, with --source teacher")
    group.add_argument(
        "--guidance",
        type=float,
        metavar="W",
        help="away from no prompt; 0 for none, 5 is the usual scale of 6 "
        f"(default: {SAMPLER_DEFAULTS['guidance']})",
    )
    group.add_argument(
        "--context-guidance",
        type=float,
        metavar="W",
        help="away from no earlier shots; 0 for none "
        f"(default: {SAMPLER_DEFAULTS['context_guidance']})",
    )
    group.add_argument(
        "--sampler-steps",
        type=int,
        metavar="N",
        help=f"from noise to picture (default: {SAMPLER_DEFAULTS['sampler_steps']})",
    )


def main(argv: Sequence[str]) -> None:
    """Makes and scores the stories, writes the figures, and prints a table."""
    # Whatever can be refused is refused before anything is computed.
    args, config = parser().parse(argv)
    recipe = cli.build(StreamRecipe, config, "config")
    check_options(args)
    set_sampler_defaults(args)
    check_scenedetect()
    out = check_writable(args.out, ".json")
    sheet = check_writable(args.sheet, ".png") if args.sheet else None
    checkpoint = open_checkpoint(args.checkpoint or recipe.checkpoint)
    shot_format = shot_format_of(checkpoint.preset, recipe.video, args.subset)
    probe = load_probe(pathlib.Path(args.probe), shot_format)
    reader = Reader(Labels(args.subset), probe)
    world = WorldConfig(
        args.subset,
        shot_format.fps,
        (args.shots,),
        (shot_format.frames,),
    )
    drawn = WorldSource(
        world,
        shot_format.height,
        shot_format.width,
        args.stories,
        split=SPLITS[1],
    )

    # The work: the stories, and the same ones through the autoencoder where that is a ceiling.
    use_persistent_cache()
    source, ceiling_source = make_sources(args, recipe, checkpoint, shot_format)
    stories = score_stories(reader, drawn, source, args.source, sheet)
    ceiling = None
    if ceiling_source:
        ceiling = score_stories(reader, drawn, ceiling_source, RECONSTRUCTED, None)
    write_scores(args, recipe, reader, stories, ceiling, out)


def check_options(args: Namespace) -> None:
    """Raises InputError if options do not go together."""
    if args.stories < 2:
        raise InputError(f"--stories {args.stories}: chance and intervals need 2 or more")
    check_seed(args.seed, "--seed")
    if args.context != "own" and args.source != GENERATED:
        raise InputError(f"--context goes with --source {GENERATED}")


def set_sampler_defaults(args: Namespace) -> None:
    """Fills in the sampler's options that were not given.

    Raises InputError if one is given with another source.
    """
    # None stands for an option that was not given.
    for name, default in SAMPLER_DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, default)
        elif args.source != TEACHER:
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} goes with --source {TEACHER}")
    if args.sampler_steps < 1:
        raise InputError(f"--sampler-steps {args.sampler_steps} must be at least 1")


def make_sources(
    args: Namespace,
    recipe: StreamRecipe,
    checkpoint: Checkpoint,
    shot_format: ShotFormat,
) -> tuple[sources.ShotSource, sources.ShotSource | None]:
    """What is scored, and the ceiling of generated pictures: through the autoencoder."""
    # Drawn stories need no model.
    if args.source == RENDERED:
        return sources.rendered_source(shot_format), None
    if args.source == RECONSTRUCTED:
        vae = VAE(checkpoint.preset.vae)
        params = checkpoint.load_params("vae")
        return sources.reconstructed_source(shot_format, vae, params), None
    # Generated ones do.
    model = load(checkpoint, **dataclasses.asdict(recipe.options()))
    if args.source == TEACHER:
        guidance = Guidance(text=args.guidance, context=args.context_guidance)
        sampler = SamplerConfig(args.sampler_steps, guidance)
        source = sources.teacher_source(model, recipe.video, args.seed, sampler)
    elif args.context == OTHER_TAKE:
        source = sources.other_take_source(model, recipe.video, args.seed)
    else:
        history = HISTORIES[args.context]
        source = sources.generated_source(model, recipe.video, args.seed, history)
    return source, sources.reconstructed_source(shot_format, model.vae, model.params["vae"])


def score_stories(
    reader: Reader,
    drawn: WorldSource,
    source: sources.ShotSource,
    name: str,
    sheet: pathlib.Path | None,
) -> list[ScoredStory]:
    """Scores every story as the source makes it.

    name: for the progress bar. sheet: where to show the first stories.
    """
    # Stories one by one: their pictures are not kept, but for those of the sheet.
    scored = []
    films = []
    for index in progress_bar(range(len(drawn)), unit="story", desc=name):
        story = drawn.story(index)
        shots = source(index, story)
        scored.append(score_story(reader, story, shots))
        if sheet and index < SHEET_STORIES:
            frames = np.concatenate(list(shots))
            no_boxes = np.zeros((len(frames), MAX_ROLES, 4), np.int32)
            films.append(Film(story, frames, no_boxes))
    if sheet:
        write_png(sheet, contact_sheet(films, columns=SHEET_COLUMNS, enlarge=SHEET_SCALE))
    return scored


def write_scores(
    args: Namespace,
    recipe: StreamRecipe,
    reader: Reader,
    stories: list[ScoredStory],
    ceiling: list[ScoredStory] | None,
    out: pathlib.Path,
) -> None:
    """Writes the figures and prints the table.

    ceiling: the same stories through the autoencoder, if they were scored.
    """
    # Means and intervals, with the level of chance.
    readings_and_shots = []
    for scored in stories:
        readings_and_shots.append((scored.readings, scored.story.shots))
    chances = chance_levels(reader.labels, readings_and_shots)
    summary = summarise([scored.figures for scored in stories], chances)
    ceiling_summary = None
    if ceiling:
        ceiling_summary = summarise([scored.figures for scored in ceiling], {})

    # What the figures were made with.
    settings = dict(vars(args))
    del settings["overrides"]  # the recipe below has them
    settings["recipe"] = dataclasses.asdict(recipe)
    results: dict[str, Any] = {
        "settings": settings,
        "figures": summary,
        "ceiling": ceiling_summary,
    }
    # The truth is known of drawn stories only.
    if ceiling:
        results["oracle"] = score_readings(reader, ceiling, recipe.video)
    elif args.source in (RECONSTRUCTED, RENDERED):
        results["oracle"] = score_readings(reader, stories, recipe.video)
    results["stories"] = [_story_results(scored) for scored in stories]

    # A file for programs, a table for people.
    write_results(out, results)
    for line in summary_table(summary, ceiling_summary):
        cli.print_line(line)
    cli.print_line(f"{out}: {args.stories} stories of {args.shots} shots, {args.source}")


def _story_results(scored: ScoredStory) -> dict[str, Any]:
    """A story's captions and figures."""
    script = scored.story.script
    captions = {"global_caption": script.global_caption, "captions": script.shots}
    return captions | scored.figures


def score_readings(
    reader: Reader,
    drawn: list[ScoredStory],
    video: VideoFormat,
) -> dict[str, float]:
    """How much of what was drawn the probe reads rightly."""
    # All shots of all stories, in order.
    readings = []
    truths = []
    for scored in drawn:
        readings += scored.readings
        for number in range(len(scored.story.shots)):
            _, boxes = render_shot(scored.story, number, video.height, video.width)
            truth = shot_truth(
                reader.labels,
                scored.story,
                number,
                boxes,
                video.height,
                video.width,
            )
            truths.append(truth)
    return oracle_scores(reader.labels, readings, truths)


if __name__ == "__main__":
    cli.run(main)
