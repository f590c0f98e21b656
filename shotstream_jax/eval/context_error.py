"""Does a teacher use its context? Its error on later shots with other earlier shots.

  shotstream world --out out/test --stories 200 --split test --subset simple \\
      --size 32x48 --fps 8 --lengths 11
  shotstream precompute --config.checkpoint=TEACHER --csv out/test/clips.csv \\
      --out out/test_latents
  python -m shotstream_jax.eval.context_error --checkpoint TEACHER --data out/test_latents

The context is the clip's own (`own`), that of another clip (`another`; captions and phases stay the
clip's own), or there is none (`none`). `ratio` is the error over that with the own context;
teacher_error has the equations.
"""

from collections.abc import Sequence

import jax.numpy as jnp

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.files import check_writable
from shotstream_jax.data.rows import embedding_reader
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.eval.teacher_error import (
    OWN,
    ConditionChange,
    denoising_errors,
    later_shot_batches,
    load_trained_teacher,
    own_conditions,
    write_error_ratios,
)


def context_of_another_clip(conditions: Conditions) -> Conditions:
    """Each row with the context of the row before it."""
    others = jnp.roll(conditions.context, 1, axis=0)
    return Conditions(others, conditions.ids, conditions.text)


# Name → what the teacher is given in place of the clip's own conditions.
CONTEXTS: dict[str, ConditionChange] = {
    OWN: own_conditions,
    "another": context_of_another_clip,
    "none": Conditions.without_context,
}


def parser() -> cli.Parser:
    """The command's options."""
    p = cli.make_parser("shotstream_jax.eval.context_error", __doc__)
    p.add_argument("--checkpoint", required=True, metavar="DIR", help="a teacher")
    p.add_argument(
        "--data",
        required=True,
        metavar="DIR",
        help="clips that it has not seen, by precompute",
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
        default="out/context.json",
        metavar="FILE.json",
        help="(default: %(default)s)",
    )
    return p


def main(argv: Sequence[str]) -> None:
    """Prints and writes the error with each context."""
    args = parser().parse_args(argv)
    out = check_writable(args.out, ".json")
    checkpoint = open_checkpoint(args.checkpoint)
    preset = checkpoint.preset
    read_caption = embedding_reader(preset.dit.text_len)
    # The same batches for all contexts.
    batches = list(later_shot_batches(args.data, preset, args.clips, read_caption))
    use_persistent_cache()
    model = load_trained_teacher(checkpoint)
    errors = {}
    for name, change in CONTEXTS.items():
        errors[name] = denoising_errors(model, batches, change, name)
    write_error_ratios(errors, out)


if __name__ == "__main__":
    cli.run(main)
