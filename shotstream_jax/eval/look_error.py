"""Does a teacher take hats from its context? Its error on them after the own earlier shots, and after recoloured ones.

  python -m shotstream_jax.eval.look_error --checkpoint tiny-teacher

Stories of five shots from the drawn world's test split; the last one, in which someone is seen again, is the target. In
`recoloured` the context is the same but for the colours of hats and scarves. Errors are as in context_error, counted
where the target shows these. A `ratio` of 1 says that colours are guessed; it moves long before stories keep them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from shotstream_jax import cli
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import check_writable
from shotstream_jax.core.typing import Float, UInt8
from shotstream_jax.data.batches import Row, condition_row, embeddings
from shotstream_jax.data.records import ClipRecord
from shotstream_jax.eval.context_error import CONTEXTS, ROWS, load_model, measure, stack, write
from shotstream_jax.memory.select import select_from
from shotstream_jax.precompute.encode import (
    Encoders,
    encode_prompts,
    encode_shots,
    latent_mask,
    load_encoders,
)
from shotstream_jax.world.clothing_mask import clothing_mask, recolour_clothing
from shotstream_jax.world.plot import SUBSETS, WorldConfig
from shotstream_jax.world.render import Film
from shotstream_jax.world.source import WorldSource
from shotstream_jax.world.story import SPLITS

SHOTS = 5


def parser() -> cli.Parser:
    p = cli.make_parser("shotstream_jax.eval.look_error", __doc__)
    p.add_argument("--checkpoint", required=True, metavar="DIR", help="a teacher with its encoders")
    p.add_argument(
        "--stories", type=int, default=160, metavar="N", help="how many (default: %(default)s)"
    )
    p.add_argument(
        "--subset",
        default="simple",
        choices=tuple(SUBSETS),
        help="of the world (default: %(default)s)",
    )
    p.add_argument(
        "--out", default="out/look.json", metavar="FILE.json", help="(default: %(default)s)"
    )
    return p


def main(argv: Sequence[str]) -> None:
    args = parser().parse_args(argv)
    if args.stories < ROWS:
        raise InputError(f"--stories {args.stories}: {ROWS} are needed at least")
    out, encoders = check_writable(args.out, ".json"), load_encoders(args.checkpoint, "float32")
    video = encoders.preset.video
    world = WorldConfig(
        args.subset, video.fps, (SHOTS,), (encoders.preset.vae.pixel_frames(video.shot_frames),)
    )
    source = WorldSource(world, video.height, video.width, args.stories, split=SPLITS[1])
    targets = [
        make_target(encoders, source[i]) for i in tqdm(range(len(source)), "drawing", unit="story")
    ]
    targets = [target for target in targets if target.hats.any()]
    if len(targets) < ROWS:
        raise InputError(
            f"--stories {args.stories}: only {len(targets)} show a hat in the end, {ROWS} are needed"
        )
    groups = [targets[first : first + ROWS] for first in range(0, len(targets) - ROWS + 1, ROWS)]
    weights = [jnp.stack([target.hats for target in group]) for group in groups]
    model, found = load_model(args.checkpoint), {}
    for name in ("own", "recoloured"):
        batches = [stack([getattr(target, name) for target in group]) for group in groups]
        found[name] = measure(model, batches, CONTEXTS["own"], name, weights)
    write(found, "own", out)


class Target(NamedTuple):
    """A story's last shot. own, recoloured: rows that differ in their context only. hats [f, h, w]: where they are."""

    own: Row
    recoloured: Row
    hats: np.ndarray


def make_target(encoders: Encoders, film: Film) -> Target:
    """The row is made as for training, from a record that has the frames of this one context."""
    other, script, shots = recolour_clothing(film), film.story.script, film.story.intervals
    first, stop = shots[-1]
    latents = encode_shots(encoders, [film.frames[first:stop]])[0]
    pick = select_from(shots[:-1], encoders.preset.memory.context)
    context, colours = (encode_frames(encoders, seen.frames[pick.frames]) for seen in (film, other))
    of_shot = [pick.shots == k for k in range(len(shots))]
    record = ClipRecord(
        name="story",
        global_caption=script.global_caption,
        captions=script.shots,
        shots=np.asarray(shots),
        targets=[latents] * len(shots),
        frames=[pick.frames[its] for its in of_shot],
        context=[context[its] for its in of_shot],
        text=encode_prompts(encoders, "story", script.global_caption, script.shots),
    )
    texts = embeddings(encoders.preset.dit.text_len)
    own = condition_row(record, len(shots) - 1, encoders.preset.memory.context, texts)
    own["target"] = latents.astype(np.float32)
    hats = latent_mask(
        clothing_mask(film, other)[first:stop], latents.shape[:3], encoders.preset.vae.time
    )
    return Target(own, own | {"context": colours}, hats.astype(np.float32))


def encode_frames(
    encoders: Encoders, frames: UInt8[np.ndarray, "p y x 3"]
) -> Float[np.ndarray, "p h w c"]:
    """Each by itself, as context is."""
    return np.concatenate(encode_shots(encoders, [frame[None] for frame in frames])).astype(
        np.float32
    )


if __name__ == "__main__":
    cli.run(main)
