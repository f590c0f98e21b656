"""What a stream takes of a GPU's memory, whether it fits, and if not what to choose.

  this machine's GPU              shotstream plan --config wan_1_3b
  any with so many GB             … --gpu 24
  one by its name                 … --gpu rtx4090
  with options of your own        … --config.cache_dtype=int8 --config.video.height=720

The first column is the stream as it was asked for, the second with the cheapest options that make
it fit, which are printed as the words to add to the command line of `shotstream generate`. That
command chooses them by itself (--memory auto). Nothing is loaded or compiled: weights, caches and
states are counted from their shapes, working memory is a formula fitted to compiled programs
(docs/performance.md, Memory). For a size whose weights are not at hand, --checkpoint wan-14b.
"""

import dataclasses
from collections.abc import Sequence

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.checkpoint.load import dtype_name
from shotstream_jax.core.devices import GPUS
from shotstream_jax.core.errors import InputError
from shotstream_jax.fit.card import GIB, Card, find_card, this_card
from shotstream_jax.fit.choose import cheapest_that_fits, largest_that_fits
from shotstream_jax.fit.options import StreamOptions, words
from shotstream_jax.fit.sizes import Need, stream_need
from shotstream_jax.generate.recipe import StreamRecipe
from shotstream_jax.presets import PRESETS, Preset, VideoFormat


def parser() -> cli.Parser:
    """The options."""
    p = cli.make_parser("shotstream_jax.plan", __doc__)
    p.add_recipe("wan_1_3b")
    p.add_argument(
        "--gpu",
        metavar="GB|NAME",
        help=f"GB of memory, or one of {', '.join(GPUS)} (default: this machine's GPU)",
    )
    p.add_argument("--checkpoint", metavar="DIR|NAME", help="weights, in place of the recipe's")
    return p


def main(argv: Sequence[str]) -> None:
    """Prints the plan."""
    args, config = parser().parse(argv)
    # 1. The stream that is asked for.
    recipe = cli.build(StreamRecipe, config, "config")
    preset = _find_sizes(args.checkpoint or recipe.checkpoint)
    # 2. The GPU that it is for.
    card = find_card(args.gpu) if args.gpu else this_card()
    if card is None:
        raise InputError(
            f"this machine has no GPU: name one with --gpu, by GB, like 24, or {', '.join(GPUS)}"
        )
    # 3. What it takes there, and what makes it fit.
    asked = recipe.options()
    asked = dataclasses.replace(asked, dtype=dtype_name(asked.dtype, card.capability))
    for line in plan_lines(preset, recipe.video, asked, card):
        cli.print_line(line)


def _find_sizes(checkpoint: str) -> Preset:
    """The sizes of a checkpoint, or of the model of that name."""
    if checkpoint in PRESETS:
        return PRESETS[checkpoint]
    return open_checkpoint(checkpoint).preset


def plan_lines(preset: Preset, video: VideoFormat, asked: StreamOptions, card: Card) -> list[str]:
    """The table, and what to choose."""
    lines = [
        f"{preset.name}, {video.height}×{video.width}, {asked.dtype}; "
        f"{card.name}, {card.memory / GIB:.2f} GiB for us"
    ]
    # The first column is what was asked for.
    needs = [stream_need(preset, video, asked)]
    picture, options = video, cheapest_that_fits(preset, video, asked, card.memory)
    if options is None:
        # No options make this picture fit: a smaller one then.
        found = largest_that_fits(preset, video, asked, card.memory)
        if found is None:
            lines += need_lines(needs, card)
            return [*lines, "no picture fits: take a larger GPU, or split over several (mesh)"]
        picture, options = found
    added = words(options, asked)
    if picture != video:
        added += f" --config.video.height={picture.height} --config.video.width={picture.width}"
    # The second column is what fits, if that is something else.
    if added:
        needs.append(stream_need(preset, picture, options))
    lines += need_lines(needs, card)
    if picture != video:
        lines.append(f"no options fit {video.height}×{video.width}; the largest picture that does:")
    lines.append(f"to fit, add: {added.strip()}" if added else "it fits as it is")
    return lines


def need_lines(needs: Sequence[Need], card: Card) -> list[str]:
    """A line for each part, a column for each need, GiB."""
    rows: dict[str, list[float]] = {}
    # A part that only one of the two has is 0 in the other.
    for name in needs[0].held | needs[-1].held:
        rows[name] = [need.held.get(name, 0) / GIB for need in needs]
    # Behind a shot's first frames; before them the prompt's program has room.
    rows["decoder's state"] = [need.state / GIB for need in needs]
    lines = []
    for name, cells in rows.items():
        lines.append(f"  {name:30}" + "".join(f"{cell:>9.2f}" for cell in cells))
    # Working memory is that of one program at a time.
    largest = []
    for need in needs:
        largest.append(need.working[need.largest] / GIB)
    lines.append(
        f"  {'largest working memory':30}"
        + "".join(f"{cell:>9.2f}" for cell in largest)
        + f"  ({', '.join(dict.fromkeys(need.largest for need in needs))})"
    )
    # The sum decides.
    verdict = []
    for need in needs:
        fits = "fits" if need.total <= card.memory else "too much"
        verdict.append(fits)
    lines.append(
        f"  {'sum, GiB':30}"
        + "".join(f"{need.total / GIB:>9.2f}" for need in needs)
        + f"  ({', '.join(verdict)})"
    )
    return lines


if __name__ == "__main__":
    cli.run(main)
