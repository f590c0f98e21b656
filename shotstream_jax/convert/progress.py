"""The progress bar of a conversion."""

import contextlib
from collections.abc import Callable, Iterator

from shotstream_jax.core.progress import progress_bar


@contextlib.contextmanager
def byte_bar(total: int) -> Iterator[Callable[[int], object]]:
    """A progress bar in bytes; gives the function that moves it."""
    with progress_bar(total=total, unit="B", unit_scale=True, unit_divisor=1024) as bar:
        yield bar.update
