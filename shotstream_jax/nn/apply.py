"""One call of a flax module with its parameters."""

from typing import Any

import flax.linen as nn

from shotstream_jax.core.typing import Params


def apply(module: nn.Module, params: Params, *arguments: Any, method: str | None = None) -> Any:
    """What a module's method (default: its call) gives, with these parameters."""
    return module.apply({"params": params}, *arguments, method=method)


def apply_and_collect(
    module: nn.Module, params: Params, collection: str, *arguments: Any
) -> tuple[Any, Any]:
    """What a module's call gives, and what it has put into a collection on the way."""
    out, collected = module.apply({"params": params}, *arguments, mutable=[collection])
    return out, collected[collection]
