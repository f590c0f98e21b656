"""How much of a GPU jax may have, and its lack of memory as one line. Imports no jax."""

import contextlib
import os
import re
from collections.abc import Iterator

from shotstream_jax.core.errors import InputError

# jax would take three quarters of a GPU; the rest of this is for the driver and cuDNN.
MEMORY_FRACTION = 0.95
# What a user can have said about it, in the environment.
_VARIABLES = (
    "XLA_PYTHON_CLIENT_MEM_FRACTION",
    "XLA_CLIENT_MEM_FRACTION",
    "XLA_PYTHON_CLIENT_PREALLOCATE",
    "XLA_PYTHON_CLIENT_ALLOCATOR",
)


def claim_gpu_memory() -> None:
    """Lets jax have MEMORY_FRACTION of each GPU, unless the environment says anything about it.

    It has an effect before jax first looks for devices, and on GPUs only.
    """
    if not any(name in os.environ for name in _VARIABLES):
        os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] = str(MEMORY_FRACTION)


@contextlib.contextmanager
def memory_errors(remedy: str) -> Iterator[None]:
    """Turns a lack of memory in here into an InputError, of one line with this remedy."""
    try:
        yield
    except MemoryError:
        raise InputError(f"this machine has no memory left: {remedy}") from None
    except RuntimeError as error:  # jax's own is a subclass
        text = str(error)
        if "RESOURCE_EXHAUSTED" not in text:
            raise
        wanted = re.search(r"allocat\w* (\d+(?:\.\d+)?) ?(\w*)", text)
        what = f" for {wanted[1]} {wanted[2]}".rstrip() if wanted else ""
        raise InputError(f"the device has no memory left{what}: {remedy}") from None
