"""Rows → batches, in an order that depends on nothing but the seed (grain).

Global batch i is the rows i·B … i·B + B − 1 of an endless shuffle; a process loads the rows that
its devices hold. So the position in the data is one number, the next global batch, and a run may go
on with another number of processes or devices: it sees the same batches.
"""

from collections.abc import Callable
from typing import Any, Protocol

import jax

from shotstream_jax.core.errors import InputError


class RandomAccess(Protocol):
    """Samples that are read by their numbers."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


class Batches:
    """Endless global batches, of which this process loads some rows.

    `at(i)` may be asked in any order; in order is fast.
    """

    def __init__(
        self,
        samples: RandomAccess,
        load: Callable[[Any], Any],
        *,
        size: int,
        rows: slice,
        seed: int,
        workers: int,
    ):
        """Makes the batches of an endless shuffle.

        Args:
          samples: what can be loaded.
          load: a sample → its row, a pytree of numpy arrays.
          size: rows of a global batch, over all processes.
          rows: which of them this process loads (`local_rows`).
          seed: of the shuffle.
          workers: reading threads.
        """
        import grain  # imported where there is data

        # Samples in an endless shuffle, each loaded when it is needed.
        shuffled = grain.MapDataset.source(samples).seed(seed).shuffle().repeat()
        loaded = shuffled.map(load)
        # A process's rows are every n-th group of `local` rows, n = size / local.
        local = rows.stop - rows.start
        groups = loaded.batch(local, drop_remainder=True)
        self._batches = groups[rows.start // local :: size // local]
        # Threads read ahead, so that a step need not wait for the disk.
        options = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=2 * max(workers, 1))
        self._reader: Any = iter(self._batches.to_iter_dataset(options))
        self._index = -1
        self._batch: Any = None

    def at(self, index: int) -> Any:
        """This process's rows of global batch `index`, stacked."""
        if index == self._index:
            return self._batch
        # In order the reader has the next batch ready already.
        if index != self._index + 1:
            self._reader.set_state(self.state(index))
        self._batch = next(self._reader)
        self._index = index
        return self._batch

    def state(self, index: int) -> dict[str, int]:
        """The reader's state from which batch `index` comes next."""
        return {"next_index": index}


def local_rows(sharding: jax.sharding.Sharding, size: int) -> slice:
    """The rows of a global batch that this process's devices hold: one range, as long everywhere.

    Raises InputError if the rows do not lie together.
    """
    # The ranges of rows of this process's devices; several devices may hold the same range.
    ranges = set()
    for index in sharding.addressable_devices_indices_map((size,)).values():
        assert index is not None
        start, stop, _ = index[0].indices(size)
        ranges.add((start, stop))
    first = min(start for start, _ in ranges)
    last = max(stop for _, stop in ranges)
    count = last - first
    covered = sum(stop - start for start, stop in ranges)
    if first % count or covered != count:
        raise InputError(
            "the mesh gives a process rows that do not lie together: put data and fsdp first"
        )
    return slice(first, last)
