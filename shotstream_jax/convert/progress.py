"""The progress bar of a conversion."""

import contextlib
from collections.abc import Callable, Iterator

from tqdm import tqdm


@contextlib.contextmanager
def byte_bar(total: int) -> Iterator[Callable[[int], object]]:
    """A progress bar in bytes; gives the function that moves it."""
    with tqdm(total=total, unit="B", unit_scale=True, unit_divisor=1024) as bar:
        yield bar.update
