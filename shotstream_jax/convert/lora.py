"""Low-rank adapters in public files: their rank, and merging one into a transformer."""

import numpy as np

from shotstream_jax.convert.names import Lazy, State
from shotstream_jax.core.errors import InputError
from shotstream_jax.dit.lora import LoraConfig

_A = ".lora_A.weight"  # PEFT's names of the factors, [rank, in] and [out, rank]
_B = ".lora_B.weight"


def lora_rank(lora: State) -> int:
    """The rank of an adapter with PEFT's names; 0 if it is not an adapter."""
    # All have the same rank, or merging refuses them.
    for name, array in lora.items():
        if name.endswith(_A):
            return array.shape[0]
    return 0


def merge_lora(
    state: State, lora: State, alpha: float | None = None, rank: int | None = None
) -> State:
    """A transformer with an adapter added: W + (alpha/rank)·B·A, in float32, then in W's own type.

    Both have plain public names, and nothing is read yet. alpha: by default the rank. rank: refuses
    another one. Raises InputError if the adapter does not fit, or if its rank is not the same
    everywhere.
    """
    # An alpha equal to the rank adds the product as it is.
    targets = _targets(state, lora)
    if rank is None:
        rank = lora_rank(lora)
    if alpha is None:
        alpha = rank
    cfg = LoraConfig(rank, alpha)
    # All else stays as it is.
    merged = dict(state)
    for target in targets:
        merged[f"{target}.weight"] = _merged(state, lora, target, cfg)
    return merged


def _targets(state: State, lora: State) -> list[str]:
    """The names of the Linears that the adapter changes.

    Each must have its weight and both factors, and the adapter nothing else.
    """
    targets = set()
    for name in lora:
        if name.endswith(_A):
            targets.add(name.removesuffix(_A))

    # What belongs to no Linear, or to one that is not complete.
    unknown = set()
    for name in lora:
        if name.rpartition(".lora_")[0] not in targets:
            unknown.add(name)
    for target in targets:
        if f"{target}.weight" not in state or target + _B not in lora:
            unknown.add(target)
    if unknown or not targets:
        names = ", ".join(sorted(unknown)[:10]) or "it is empty"
        raise InputError(f"the adapter does not fit the transformer: {names}")
    return sorted(targets)


def _merged(state: State, lora: State, target: str, cfg: LoraConfig) -> Lazy:
    """One Linear's weight [out, in] with its part of the adapter."""
    weight = state[f"{target}.weight"]
    a = lora[target + _A]
    b = lora[target + _B]
    # Factors that do not multiply to the weight's shape are refused before anything is read.
    outputs, inputs = weight.shape
    a_fits = tuple(a.shape) == (cfg.rank, inputs)
    b_fits = tuple(b.shape) == (outputs, cfg.rank)
    if not a_fits or not b_fits:
        raise InputError(
            f"the adapter of {target} is {list(b.shape)}·{list(a.shape)} "
            f"for weights {list(weight.shape)} and rank {cfg.rank}"
        )

    def read() -> np.ndarray:
        """W + scale · B · A [out, in]."""
        wide = np.asarray(weight, np.float32)
        down = np.asarray(a, np.float32)  # [rank, in]
        up = np.asarray(b, np.float32)  # [out, rank]
        merged = wide + cfg.scale * (up @ down)
        return merged.astype(weight.dtype)

    return Lazy(tuple(weight.shape), weight.dtype, read)
