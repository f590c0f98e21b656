"""Does a teacher take hats from its context? Its error on hats when the context recolours them.

  python -m shotstream_jax.eval.appearance_error --checkpoint tiny-teacher

Stories of five shots from the drawn world's test split; the last shot, in which someone is seen
again, is the target. In `recoloured` the context is the same but for the colours of hats and
scarves. Errors count where the target shows these; teacher_error has the equations. A `ratio` of 1
says that colours are guessed; it grows long before generated stories keep them.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import check_writable
from shotstream_jax.core.progress import progress_bar
from shotstream_jax.core.typing import Float, Leaf, UInt8
from shotstream_jax.data.encode import (
    Encoders,
    encode_prompts,
    encode_shots,
    latent_mask,
    load_encoders,
)
from shotstream_jax.data.records import ClipRecord
from shotstream_jax.data.rows import ShotBatch, condition_row, embedding_reader
from shotstream_jax.eval.teacher_error import (
    BATCH_CLIPS,
    OWN,
    denoising_errors,
    load_trained_teacher,
    own_conditions,
    stack_rows,
    write_error_ratios,
)
from shotstream_jax.memory.select import ContextPick, select_context
from shotstream_jax.world.clothing_mask import clothing_mask, recolour_clothing
from shotstream_jax.world.plot import SUBSETS, WorldConfig
from shotstream_jax.world.render import Film
from shotstream_jax.world.source import WorldSource
from shotstream_jax.world.story import SPLITS

# Shots of a story.
SHOTS = 5


def parser() -> cli.Parser:
    """The command's options."""
    p = cli.make_parser("shotstream_jax.eval.appearance_error", __doc__)
    p.add_argument(
        "--checkpoint",
        required=True,
        metavar="DIR",
        help="a teacher with its encoders",
    )
    p.add_argument(
        "--stories",
        type=int,
        default=160,
        metavar="N",
        help="how many (default: %(default)s)",
    )
    p.add_argument(
        "--subset",
        default="simple",
        choices=tuple(SUBSETS),
        help="of the world (default: %(default)s)",
    )
    p.add_argument(
        "--out",
        default="out/appearance.json",
        metavar="FILE.json",
        help="(default: %(default)s)",
    )
    return p


def main(argv: Sequence[str]) -> None:
    """Prints and writes the error after the own context and after a recoloured one."""
    args = parser().parse_args(argv)
    if args.stories < BATCH_CLIPS:
        raise InputError(f"--stories {args.stories}: at least {BATCH_CLIPS} are needed")
    out = check_writable(args.out, ".json")
    checkpoint = open_checkpoint(args.checkpoint)
    encoders = load_encoders(checkpoint, "float32")
    targets = draw_targets(encoders, args.subset, args.stories)
    # Whole batches only.
    groups = []
    for first in range(0, len(targets) - BATCH_CLIPS + 1, BATCH_CLIPS):
        groups.append(targets[first : first + BATCH_CLIPS])
    # Two batches of each group that differ in the context only, and where their errors count.
    own = []
    other = []
    weights = []
    for group in groups:
        own.append(stack_rows([target.own for target in group]))
        other.append(stack_rows([target.recoloured for target in group]))
        weights.append(jnp.stack([target.hats for target in group]))
    # The error of both.
    model = load_trained_teacher(checkpoint)
    errors = {}
    for name, batches in ((OWN, own), ("recoloured", other)):
        errors[name] = denoising_errors(
            model,
            batches,
            own_conditions,
            name,
            weights,
        )
    write_error_ratios(errors, out)


class AppearanceTarget(NamedTuple):
    """A story's last shot.

    own, recoloured: rows that differ in their context only. hats [f, h, w]: where hats and scarves
    are in the target, from 0 to 1.
    """

    own: ShotBatch
    recoloured: ShotBatch
    hats: np.ndarray


def draw_targets(
    encoders: Encoders,
    subset: str,
    stories: int,
) -> list[AppearanceTarget]:
    """The targets of the first stories of the test split that show a hat in the last shot.

    Raises InputError if they do not fill a batch.
    """
    video = encoders.preset.video
    frames = encoders.preset.vae.pixel_frames(video.shot_frames)
    world = WorldConfig(subset, video.fps, (SHOTS,), (frames,))
    source = WorldSource(world, video.height, video.width, stories, split=SPLITS[1])
    targets = []
    for index in progress_bar(range(len(source)), desc="drawing", unit="story"):
        target = make_target(encoders, source[index])
        if target.hats.any():
            targets.append(target)
    if len(targets) < BATCH_CLIPS:
        raise InputError(
            f"--stories {stories}: only {len(targets)} show a hat in the end, "
            f"{BATCH_CLIPS} are needed"
        )
    return targets


def make_target(encoders: Encoders, film: Film) -> AppearanceTarget:
    """The last shot of a film as training has it, with its own and with recoloured context."""
    other = recolour_clothing(film)
    shots = film.story.intervals
    first, stop = shots[-1]
    latents = encode_shots(encoders, [film.frames[first:stop]])[0]  # [f, h, w, c]
    # The frames of earlier shots that are the context, in both films.
    budget = encoders.preset.memory.context
    selection = select_context(shots[:-1], budget)
    context = encode_frames(encoders, film.frames[selection.frames])
    recoloured_context: Leaf = encode_frames(encoders, other.frames[selection.frames])

    # A row with either context; `condition_row` is how training makes it.
    record = _record_with_context(encoders, film, latents, selection, context)
    read_caption = embedding_reader(encoders.preset.dit.text_len)
    conditions = condition_row(record, len(shots) - 1, budget, read_caption)
    other_conditions = dataclasses.replace(conditions, context=recoloured_context)
    target: Leaf = latents.astype(np.float32)
    # The hats of the target, at the latents' resolution.
    hats = clothing_mask(film, other)[first:stop]  # [p, y, x]
    mask = latent_mask(hats, latents.shape[:3], encoders.preset.vae.time)
    return AppearanceTarget(
        own=ShotBatch(target, conditions),
        recoloured=ShotBatch(target, other_conditions),
        hats=mask.astype(np.float32),
    )


def _record_with_context(
    encoders: Encoders,
    film: Film,
    latents: np.ndarray,
    selection: ContextPick,
    context: np.ndarray,
) -> ClipRecord:
    """A data set's record of the film, with the selected frames only.

    latents: [f, h, w, c], of the last shot. context: [p, h, w, c], of the selected frames.
    """
    script = film.story.script
    shots = film.story.intervals
    # The selection, shot by shot.
    frames = []
    frame_latents = []
    for number in range(len(shots)):
        of_shot = selection.shots == number
        frames.append(selection.frames[of_shot])
        frame_latents.append(context[of_shot])
    return ClipRecord(
        name="story",
        global_caption=script.global_caption,
        captions=script.shots,
        shots=np.asarray(shots),
        targets=[latents] * len(shots),
        frames=frames,
        context=frame_latents,
        text=encode_prompts(encoders, "story", script.global_caption, script.shots),
    )


def encode_frames(
    encoders: Encoders,
    frames: UInt8[np.ndarray, "p y x 3"],
) -> Float[np.ndarray, "p h w c"]:
    """Latents of frames, each encoded by itself, as context is."""
    latents = encode_shots(encoders, [frame[None] for frame in frames])
    return np.concatenate(latents).astype(np.float32)


if __name__ == "__main__":
    cli.run(main)
