"""One call of a flax module with its parameters."""

from typing import Any

import flax.linen as nn

from shotstream_jax.core.typing import Params


def apply(module: nn.Module, params: Params, *arguments: Any, method: str | None = None) -> Any:
    """What a module's method (default: its call) gives, with these parameters."""
    return module.apply({"params": params}, *arguments, method=method)
