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
from shotstream_jax.data.batch import Batch
from shotstream_jax.data.pipeline import Row, condition_row, embeddings
from shotstream_jax.data.records import ClipRecord
from shotstream_jax.data.world.plot import SUBSETS, WorldConfig
from shotstream_jax.data.world.render import Film
from shotstream_jax.data.world.source import WorldSource
from shotstream_jax.data.world.story import SPLITS
from shotstream_jax.data.world.worn import recoloured, worn
from shotstream_jax.eval.context_error import CONTEXTS, ROWS, load_model, measure, write
from shotstream_jax.generate.video import check_writable
from shotstream_jax.memory.select import select_from
from shotstream_jax.precompute.encode import Encoders, encode_prompts, encode_shots, latent_mask, load_encoders
from shotstream_jax.train.setup import batch_of

SHOTS = 5


def parser() -> cli.Parser:
    p = cli.make_parser("shotstream_jax.eval.look_error", __doc__)
    p.add_argument("--checkpoint", required=True, metavar="DIR", help="a teacher with its encoders")
    p.add_argument("--stories", type=int, default=160, metavar="N", help="how many (default: %(default)s)")
    p.add_argument("--subset", default="simple", choices=tuple(SUBSETS), help="of the world (default: %(default)s)")
    p.add_argument("--out", default="out/look.json", metavar="FILE.json", help="(default: %(default)s)")
    return p


def main(argv: Sequence[str]) -> None:
    args = parser().parse_args(argv)
    if args.stories < ROWS:
        raise InputError(f"--stories {args.stories}: {ROWS} are needed at least")
    out, encoders = check_writable(args.out, ".json"), load_encoders(args.checkpoint, "float32")
    video = encoders.preset.video
    world = WorldConfig(args.subset, video.fps, (SHOTS,), (encoders.preset.vae.pixel_frames(video.shot_frames),))
    source = WorldSource(world, video.height, video.width, args.stories, split=SPLITS[1])
    targets = [make_target(encoders, source[i]) for i in tqdm(range(len(source)), "drawing", unit="story")]
    targets = [target for target in targets if target.hats.any()]
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
    other = recoloured(film)
    first, stop = film.story.intervals[-1]
    latents = encode_shots(encoders, [film.frames[first:stop]])[0]
    own, colours = (make_row(encoders, seen, latents) for seen in (film, other))
    hats = latent_mask(worn(film, other)[first:stop], latents.shape[:3], encoders.preset.vae.time)
    return Target(own, colours, hats.astype(np.float32))


def make_row(encoders: Encoders, film: Film, target: np.ndarray) -> Row:
    """The target's latents after the earlier shots of a film."""
    script, shots = film.story.script, film.story.intervals
    pick = select_from(shots[:-1], encoders.preset.memory.context)
    context = np.concatenate(encode_shots(encoders, [film.frames[[frame]] for frame in pick.frames]))
    of_shot = [pick.shots == k for k in range(len(shots))]
    record = ClipRecord(
        name="story",
        global_caption=script.global_caption,
        captions=script.shots,
        shots=np.asarray(shots),
        targets=[target] * len(shots),
        frames=[pick.frames[own] for own in of_shot],
        context=[context[own] for own in of_shot],
        text=encode_prompts(encoders, "story", script.global_caption, script.shots),
    )
    texts = embeddings(encoders.preset.dit.text_len)
    conditions = condition_row(record, len(shots) - 1, encoders.preset.memory.context, texts)
    return {"target": target.astype(np.float32)} | conditions


def stack(rows: Sequence[Row]) -> Batch:
    return batch_of({name: jnp.asarray(np.stack([row[name] for row in rows])) for name in rows[0]})


if __name__ == "__main__":
    cli.run(main)
