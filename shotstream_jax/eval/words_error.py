"""Does a teacher read its prompts? Its error on drawn shots as they are told, and with another who, where or action.

  python -m shotstream_jax.world --out out/test --stories 200 --split test --subset simple --size 32x48 --fps 8 \\
      --lengths 11
  python -m shotstream_jax.precompute --config.checkpoint=TEACHER --csv out/test/clips.csv --out out/test_latents
  python -m shotstream_jax.eval.words_error --checkpoint TEACHER --data out/test_latents

Only the prompt of the target's frames is changed; those of earlier shots stay. The error is as in context_error. The
checkpoint's own text encoder reads the prompts, so any data with its autoencoder's latents will do.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.files import check_writable
from shotstream_jax.data.batches import Texts, token_ids
from shotstream_jax.data.records import ClipRecord
from shotstream_jax.dit.conditions import Batch
from shotstream_jax.eval.context_error import CONTEXTS, load_model, measure, read_batches, write
from shotstream_jax.text.umt5 import UMT5
from shotstream_jax.train.stages.teacher import embed_slots
from shotstream_jax.world.captions import falsify_caption
from shotstream_jax.world.plot import SUBSETS, Subset

WRONG = ("who", "where", "action")


def parser() -> cli.Parser:
    p = cli.make_parser("shotstream_jax.eval.words_error", __doc__)
    p.add_argument(
        "--checkpoint", required=True, metavar="DIR", help="a teacher with its text encoder"
    )
    p.add_argument(
        "--data",
        required=True,
        metavar="DIR",
        help="drawn clips that it has not seen, by precompute",
    )
    p.add_argument(
        "--subset",
        default="simple",
        choices=tuple(SUBSETS),
        help="of the world (default: %(default)s)",
    )
    p.add_argument(
        "--clips", type=int, default=200, metavar="N", help="at most (default: %(default)s)"
    )
    p.add_argument(
        "--out", default="out/words.json", metavar="FILE.json", help="(default: %(default)s)"
    )
    return p


def main(argv: Sequence[str]) -> None:
    args = parser().parse_args(argv)
    out, checkpoint = check_writable(args.out, ".json"), open_checkpoint(args.checkpoint)
    preset = checkpoint.preset
    ids = token_ids(checkpoint.tokenizer(), preset.dit.text_len)
    told = list(read_batches(args.data, preset, args.clips, ids))
    batches = {"as told": told}
    for what in WRONG:
        wrong = read_batches(
            args.data, preset, args.clips, mistold(ids, what, SUBSETS[args.subset])
        )
        batches[what] = [with_target_prompt_of(*pair) for pair in zip(told, wrong, strict=True)]
    use_persistent_cache()
    embed, model = embedder(args.checkpoint), load_model(args.checkpoint)
    own = CONTEXTS["own"]
    found = {
        name: measure(model, [embed(b) for b in read], own, name) for name, read in batches.items()
    }
    write(found, "as told", out)


def mistold(texts: Texts, what: str, subset: Subset) -> Texts:
    """As `texts`, of captions that tell another `what`."""

    def read(record: ClipRecord, shot: int) -> np.ndarray:
        opening, *captions = (
            falsify_caption(told, what, subset)
            for told in (record.global_caption, *record.captions)
        )
        return texts(
            dataclasses.replace(record, global_caption=opening, captions=tuple(captions)), shot
        )

    return read


def with_target_prompt_of(batch: Batch, other: Batch) -> Batch:
    """The batch with the other's prompt for the target's frames."""
    conditions, rows = batch.conditions, jnp.arange(len(batch.target))
    slot = conditions.ids.caption[:, -1]
    text = conditions.text.at[rows, slot].set(other.conditions.text[rows, slot])
    return batch.replace(conditions=conditions.replace(text=text))


def embedder(checkpoint: str) -> Callable[[Batch], Batch]:
    """Token ids [b, slots, l] → embeddings [b, slots, l, e] by the checkpoint's text encoder."""
    opened = open_checkpoint(checkpoint)
    params = opened.load_params("text")
    encode = jax.jit(functools.partial(embed_slots, UMT5(opened.preset.text)))

    def embed(batch: Batch) -> Batch:
        return batch.replace(
            conditions=batch.conditions.replace(text=encode(params, batch.conditions.text))
        )

    return embed


if __name__ == "__main__":
    cli.run(main)
