"""The options --lora FILE[:STRENGTH] and what goes with it, the same for every command."""

import argparse
import dataclasses
import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from absl import logging

from shotstream_jax.checkpoint.checkpoint import LARGEST_INPUTS
from shotstream_jax.convert import public
from shotstream_jax.convert.fetch import local_adapter
from shotstream_jax.convert.lora.adapter import Adapter, read_adapter
from shotstream_jax.convert.lora.merge import Weighted, merge_adapters, state_shapes
from shotstream_jax.convert.names import State
from shotstream_jax.core.errors import InputError

ADAPTERS = "adapters"  # what config.json calls those that were merged into a part


class AdapterSource(NamedTuple):
    """An adapter's file or folder, and its strength."""

    path: pathlib.Path
    strength: float

    def __str__(self) -> str:
        return f"{self.path.name}:{self.strength:g}"


@dataclasses.dataclass(frozen=True)
class LoraOptions:
    """Which adapters are merged, and how they are read (`read_adapter`).

    Raises InputError for an alpha or a rank that is none.
    """

    sources: tuple[AdapterSource, ...] = ()
    key: str | None = None
    alpha: float | None = None
    rank: int | None = None
    ignore_unused: bool = False

    def __post_init__(self) -> None:
        if not self.sources and (self.key, self.alpha, self.rank) != (None, None, None):
            raise InputError("--lora-key, --alpha and --rank go with --lora")
        if not self.sources and self.ignore_unused:
            raise InputError("--ignore-unused goes with --lora")
        if self.alpha is not None and not (math.isfinite(self.alpha) and self.alpha > 0):
            raise InputError(f"--alpha {self.alpha:g} must be above 0")
        if self.alpha is not None and len(self.sources) > 1:
            raise InputError("--alpha is for one --lora: give strengths, FILE:0.8, or merge twice")
        if self.rank is not None and self.rank < 1:
            raise InputError(f"--rank {self.rank} must be above 0")


def add_lora_options(command: argparse.ArgumentParser, *, required: bool = False) -> None:
    """Adds --lora and what goes with it."""
    command.add_argument(
        "--lora",
        action="append",
        required=required,
        metavar="FILE[:STRENGTH]",
        help="an adapter to merge: a file, PEFT's folder or hf:owner/name; again for another one "
        "(strength: default 1, also 0 or negative)",
    )
    command.add_argument(
        "--lora-key",
        choices=public.LORAS,
        help="its name in a training file (default: generator_lora)",
    )
    command.add_argument(
        "--alpha",
        type=float,
        help="the adapter's alpha (default: what its file, adapter_config.json or header says; "
        "nothing: a factor of 1)",
    )
    command.add_argument("--rank", type=int, help="refuse an adapter of another rank")
    command.add_argument(
        "--ignore-unused",
        action="store_true",
        help="list an adapter's tensors that the transformer has no use for, in place of refusing",
    )


def lora_options(args: argparse.Namespace) -> LoraOptions:
    """The options of `add_lora_options`. Raises InputError for a strength that is no number."""
    sources = []
    for text in args.lora or []:
        sources.append(parse_source(text))
    return LoraOptions(tuple(sources), args.lora_key, args.alpha, args.rank, args.ignore_unused)


def parse_source(text: str) -> AdapterSource:
    """FILE or FILE:STRENGTH; a file whose own name has the colon goes before.

    Raises InputError if the strength is not finite.
    """
    if pathlib.Path(text).exists():
        return AdapterSource(pathlib.Path(text), 1.0)
    file, colon, number = text.rpartition(":")
    try:
        strength = float(number)
    except ValueError:
        strength = None
    # What is behind the last colon is a part of the name, or the name has none.
    if not colon or strength is None:
        return AdapterSource(pathlib.Path(text), 1.0)
    if not math.isfinite(strength):
        raise InputError(f"{text}: the strength {number} is not finite")
    return AdapterSource(pathlib.Path(file), strength)


def facts_after_merge(facts: Mapping[str, Any], options: LoraOptions) -> dict[str, Any]:
    """What is told of a transformer when adapters were merged into it; the same without any."""
    after = dict(facts)
    if options.sources:
        # A calibration was of the transformer without them.
        after.pop(LARGEST_INPUTS, None)
        earlier = after.get(ADAPTERS) or []
        after[ADAPTERS] = [*earlier, *map(str, options.sources)]
    return after


def merge_into(state: State, options: LoraOptions) -> State:
    """A transformer's weights under plain names with the adapters added, not read yet.

    Says of each adapter what it changes. Raises InputError if one does not fit.
    """
    if not options.sources:
        return state
    shapes = state_shapes(state)
    weighted = []
    for source in options.sources:
        adapter = read_adapter(
            local_adapter(source.path),
            shapes,
            key=options.key,
            alpha=options.alpha,
            rank=options.rank,
            ignore_unused=options.ignore_unused,
        )
        logging.info("%s: %s", source.path, _summary(adapter, source.strength))
        weighted.append(Weighted(adapter, source.strength))
    return merge_adapters(state, weighted)


def _summary(adapter: Adapter, strength: float) -> str:
    """What an adapter changes, in some words."""
    ranks = "no rank"
    if adapter.ranks:
        ranks = f"rank {', '.join(str(rank) for rank in adapter.ranks)}"
    return (
        f"changes {len(adapter.changes)} parameters, {ranks}, {adapter.alpha_from}, "
        f"strength {strength:g}"
    )
