"""Score generated stories of the drawn world: JSON, and a table.

  python -m shotstream_jax.eval --config configs/tiny.py --stories 100 --shots 5 --out out/eval.json
  … --config.checkpoint=out/tiny/dmd_inter/model --sheet out/eval.png
  … --config.checkpoint=tiny-teacher --source teacher --guidance 2 --context-guidance 3    by a teacher's sampler
  … --source reconstructed        drawn, and through the checkpoint's autoencoder: the ceiling
  … --source rendered             drawn: what the probe and the cut detector themselves get wrong
  … --context other               shots are given what another take of the story has left behind (none: nothing,
                                  first: first frames only)
  … --shots 20                    long stories; `drift` is the last shot's figure less the second one's

The stories are of the world's `test` split. docs/eval.md says what each number means.
"""

import dataclasses
import json
import pathlib
from argparse import Namespace
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.checkpoint.load import load
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import check_writable, write_whole
from shotstream_jax.eval import sources
from shotstream_jax.eval.cuts import check_installed
from shotstream_jax.eval.files import SHIPPED, Format, format_of, load_probe
from shotstream_jax.eval.labels import Labels, shot_truth
from shotstream_jax.eval.reading import Reader, oracle_scores
from shotstream_jax.eval.report import Judged, as_json, chances, judge, summarise, table
from shotstream_jax.generate.__main__ import Recipe
from shotstream_jax.media.pictures import write_png
from shotstream_jax.presets import VideoFormat
from shotstream_jax.train.losses.flow_matching import Guidance
from shotstream_jax.vae.model import VAE
from shotstream_jax.world.plot import SUBSETS, WorldConfig
from shotstream_jax.world.render import MAX_ROLES, Film, render_shot
from shotstream_jax.world.sheet import contact_sheet
from shotstream_jax.world.source import WorldSource
from shotstream_jax.world.story import SPLITS

GENERATED, TEACHER, RECONSTRUCTED, RENDERED = "generated", "teacher", "reconstructed", "rendered"
GIVEN = {"own": lambda memory: memory, "first": sources.first_frames, "none": sources.nothing}
OTHER = "other"
SAMPLER = {  # the teacher's options: usual values, what they say
    "guidance": (6.0, "away from no prompt; 1 for none"),
    "context_guidance": (0.0, "away from no earlier shots; 0 for none"),
    "sampler_steps": (50, "from noise to picture"),
}
SHOWN = 3  # stories on the sheet


def parser() -> cli.Parser:
    p = cli.make_parser("shotstream_jax.eval", __doc__)
    p.add_recipe()
    p.add_argument(
        "--stories", type=int, default=100, metavar="N", help="how many (default: %(default)s)"
    )
    p.add_argument(
        "--shots", type=int, default=5, metavar="N", help="of each story (default: %(default)s)"
    )
    p.add_argument(
        "--source",
        choices=(GENERATED, TEACHER, RECONSTRUCTED, RENDERED),
        default=GENERATED,
        help="of the pictures",
    )
    p.add_argument(
        "--context",
        choices=[*GIVEN, OTHER],
        default="own",
        help="what shots are given of earlier ones",
    )
    of_teacher = p.add_argument_group("the teacher's sampler, with --source teacher")
    for name, (usual, says) in SAMPLER.items():
        metavar = "N" if isinstance(usual, int) else "W"
        of_teacher.add_argument(
            _flag(name), type=type(usual), metavar=metavar, help=f"{says} (default: {usual})"
        )
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
    p.add_argument(
        "--probe",
        default=str(SHIPPED),
        metavar="FILE.safetensors",
        help="(default: the shipped one)",
    )
    p.add_argument(
        "--out", default="out/eval.json", metavar="FILE.json", help="(default: %(default)s)"
    )
    p.add_argument(
        "--sheet", metavar="FILE.png", help="a picture of the first stories: shots as rows"
    )
    return p


def main(argv: Sequence[str]) -> None:
    # Whatever can be refused is refused before anything is computed.
    args, config = parser().parse(argv)
    recipe = cli.build(Recipe, config, "config")
    if args.stories < 2:
        raise InputError(f"--stories {args.stories}: chance and intervals need 2 or more")
    if args.context != "own" and args.source != GENERATED:
        raise InputError(f"--context goes with --source {GENERATED}")
    complete_sampler(args)
    check_installed()
    out = check_writable(args.out, ".json")
    sheet = check_writable(args.sheet, ".png") if args.sheet else None
    form = format_of(open_checkpoint(recipe.checkpoint).preset, recipe.video, args.subset)
    reader = Reader(Labels(args.subset), load_probe(pathlib.Path(args.probe), form))
    world = WorldConfig(args.subset, form.fps, (args.shots,), (form.frames,))
    drawn = WorldSource(world, form.height, form.width, args.stories, split=SPLITS[1])
    use_persistent_cache()
    source, ceiling = make_sources(args, recipe, form)
    judged = judge_all(reader, drawn, source, args.source, sheet)
    above = judge_all(reader, drawn, ceiling, RECONSTRUCTED, None) if ceiling else []
    write(args, recipe, reader, judged, above, out)


def complete_sampler(args: Namespace) -> None:
    """Its usual values in place of those that were not given; none goes with another source."""
    for name, (usual, _) in SAMPLER.items():
        if getattr(args, name) is None:
            setattr(args, name, usual)
        elif args.source != TEACHER:
            raise InputError(f"{_flag(name)} goes with --source {TEACHER}")
    if args.sampler_steps < 1:
        raise InputError(f"--sampler-steps {args.sampler_steps} < 1")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def make_sources(
    args: Namespace, recipe: Recipe, form: Format
) -> tuple[sources.Source, sources.Source | None]:
    """What is scored, and for generated pictures the ceiling: the same stories through the autoencoder."""
    if args.source == RENDERED:
        return sources.rendered(form), None
    if args.source == RECONSTRUCTED:
        checkpoint = open_checkpoint(recipe.checkpoint)
        vae = VAE(checkpoint.preset.vae)
        return sources.reconstructed(form, vae, checkpoint.load_params("vae")), None
    model = load(recipe.checkpoint, recipe.dtype, quantize=recipe.quantize)
    if args.source == TEACHER:
        guidance = Guidance.of_sampler(args.guidance, args.context_guidance)
        made = sources.taught(model, recipe.video, args.seed, guidance, args.sampler_steps)
    elif args.context == OTHER:
        made = sources.from_another_take(model, recipe.video, args.seed)
    else:
        made = sources.generated(model, recipe.video, args.seed, GIVEN[args.context])
    return made, sources.reconstructed(form, model.vae, model.params["vae"])


def judge_all(
    reader: Reader,
    drawn: WorldSource,
    source: sources.Source,
    name: str,
    sheet: pathlib.Path | None,
) -> list[Judged]:
    """Every story of a source; the first ones are shown."""
    judged, films = [], []
    for index in tqdm(range(len(drawn)), unit="story", desc=name):
        story = drawn.story(index)
        shots = source(index, story)
        judged.append(judge(reader, story, shots))
        if sheet and index < SHOWN:
            frames = np.concatenate(list(shots))
            films.append(Film(story, frames, np.zeros((len(frames), MAX_ROLES, 4), np.int32)))
    if sheet:
        write_png(sheet, contact_sheet(films, columns=7, enlarge=3))
    return judged


def write(
    args: Namespace,
    recipe: Recipe,
    reader: Reader,
    judged: list[Judged],
    above: list[Judged],
    out: pathlib.Path,
) -> None:
    """The file and the table."""
    labels = reader.labels
    summary = summarise([j.figures for j in judged], chances(labels, judged))
    ceiling = summarise([j.figures for j in above], {}) if above else None
    settings = {k: v for k, v in vars(args).items() if k != "overrides"} | {
        "recipe": dataclasses.asdict(recipe)
    }
    result = {"settings": settings, "figures": summary, "ceiling": ceiling}
    if drawn := above or (judged if args.source in (RECONSTRUCTED, RENDERED) else []):
        result["oracle"] = oracle(reader, drawn, recipe.video)
    result["stories"] = [
        {"global_caption": j.story.script.global_caption, "captions": j.story.script.shots}
        | j.figures
        for j in judged
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, (json.dumps(as_json(result), indent=1) + "\n").encode())
    for line in table(summary, ceiling):
        cli.say(line)
    cli.say(f"{out}: {args.stories} stories of {args.shots} shots, {args.source}")


def oracle(reader: Reader, judged: list[Judged], video: VideoFormat) -> dict[str, float]:
    """How much of what was drawn is read rightly."""
    truths = []
    for story, *_ in judged:
        for number in range(len(story.shots)):
            _, boxes = render_shot(story, number, video.height, video.width)
            truths.append(
                shot_truth(reader.labels, story, number, boxes, video.height, video.width)
            )
    return oracle_scores(reader.labels, [reading for j in judged for reading in j.readings], truths)


if __name__ == "__main__":
    cli.run(main)
