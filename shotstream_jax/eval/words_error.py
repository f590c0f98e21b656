"""Does a teacher read its prompts? Its error on later shots with another who, where or action.

  shotstream world --out out/test --stories 200 --split test --subset simple \\
      --size 32x48 --fps 8 --lengths 11
  shotstream precompute --config.checkpoint=TEACHER --csv out/test/clips.csv \\
      --out out/test_latents
  python -m shotstream_jax.eval.words_error --checkpoint TEACHER --data out/test_latents

Only the prompt of the target's frames is changed (`own`: not at all); those of earlier shots stay.
`ratio` is the error over that with the own prompt; teacher_error has the equations. The
checkpoint's own text encoder reads the prompts, so any data with its autoencoder's latents will do.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import Checkpoint, open_checkpoint
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.files import check_writable
from shotstream_jax.core.typing import Array
from shotstream_jax.data.records import ClipRecord
from shotstream_jax.data.rows import CaptionReader, ShotBatch, token_reader
from shotstream_jax.eval.teacher_error import (
    OWN,
    denoising_errors,
    later_shot_batches,
    load_trained_teacher,
    own_conditions,
    write_error_ratios,
)
from shotstream_jax.text.umt5 import UMT5
from shotstream_jax.train.stages.captions import embed_tokens
from shotstream_jax.world.captions import falsify_caption
from shotstream_jax.world.plot import SUBSETS, Subset

# What is changed in a prompt, one at a time.
CHANGES = ("who", "where", "action")


def parser() -> cli.Parser:
    """The command's options."""
    p = cli.make_parser("shotstream_jax.eval.words_error", __doc__)
    p.add_argument(
        "--checkpoint",
        required=True,
        metavar="DIR",
        help="a teacher with its text encoder",
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
        "--clips",
        type=int,
        default=200,
        metavar="N",
        help="at most (default: %(default)s)",
    )
    p.add_argument(
        "--out",
        default="out/words.json",
        metavar="FILE.json",
        help="(default: %(default)s)",
    )
    return p


def main(argv: Sequence[str]) -> None:
    """Prints and writes the error with each prompt."""
    args = parser().parse_args(argv)
    out = check_writable(args.out, ".json")
    checkpoint = open_checkpoint(args.checkpoint)
    preset = checkpoint.preset
    read_ids = token_reader(checkpoint.tokenizer(), preset.dit.text_len)
    # The batches with their own prompts, and with one change each.
    own = list(later_shot_batches(args.data, preset, args.clips, read_ids))
    batches = {OWN: own}
    for what in CHANGES:
        read_changed_ids = with_changed_captions(read_ids, what, SUBSETS[args.subset])
        changed = later_shot_batches(
            args.data,
            preset,
            args.clips,
            read_changed_ids,
        )
        batches[what] = []
        for batch, other in zip(own, changed, strict=True):
            batches[what].append(with_target_prompt_of(batch, other))
    # The error with each, once the ids are embedded.
    use_persistent_cache()
    embed = prompt_embedder(checkpoint)
    model = load_trained_teacher(checkpoint)
    errors = {}
    for name, of_name in batches.items():
        embedded = [embed(batch) for batch in of_name]
        errors[name] = denoising_errors(model, embedded, own_conditions, name)
    write_error_ratios(errors, out)


def with_changed_captions(
    read_caption: CaptionReader,
    what: str,
    subset: Subset,
) -> CaptionReader:
    """Reads captions that name another `what` (one of CHANGES)."""

    def read_changed(record: ClipRecord, shot: int) -> np.ndarray:
        """Reads a shot's prompt from the record with changed captions."""
        captions = [falsify_caption(caption, what, subset) for caption in record.captions]
        changed = dataclasses.replace(
            record,
            global_caption=falsify_caption(record.global_caption, what, subset),
            captions=tuple(captions),
        )
        return read_caption(changed, shot)

    return read_changed


def with_target_prompt_of(batch: ShotBatch, other: ShotBatch) -> ShotBatch:
    """The batch with the other's prompt for the target's frames."""
    conditions = batch.conditions
    rows = jnp.arange(len(batch.target))
    # The slot of the target's caption is that of the last frame.
    slot = conditions.ids.caption[:, -1]
    target_text = other.conditions.text[rows, slot]
    text = conditions.text.at[rows, slot].set(target_text)
    return _with_text(batch, text)


def _with_text(batch: ShotBatch, text: Array) -> ShotBatch:
    """The batch with another text in its slots."""
    conditions = dataclasses.replace(batch.conditions, text=text)
    return dataclasses.replace(batch, conditions=conditions)


def prompt_embedder(checkpoint: Checkpoint) -> Callable[[ShotBatch], ShotBatch]:
    """Replaces token ids [b, slots, l] by the checkpoint's embeddings [b, slots, l, e]."""
    params = checkpoint.load_params("text")
    encoder = UMT5(checkpoint.preset.text)
    # Compiled once: all batches have one shape.
    encode = jax.jit(functools.partial(embed_tokens, encoder))

    def embed(batch: ShotBatch) -> ShotBatch:
        """The batch with embeddings for token ids."""
        text = encode(params, batch.conditions.text)
        return _with_text(batch, text)

    return embed


if __name__ == "__main__":
    cli.run(main)
