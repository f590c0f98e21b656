"""Snapshots of a run (orbax): written in the background, restored onto any mesh."""

import contextlib
import logging
import pathlib
import re
import sys
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging as absl_logging
from jax.experimental import multihost_utils

from shotstream_jax.core.errors import InputError

# What a snapshot raises that is damaged, or not of this recipe: orbax has no error of its own.
UNREADABLE = (ValueError, KeyError, TypeError, OSError, RuntimeError, EOFError)
# What writing raises: OSError, or tensorstore's words for one.
_UNWRITABLE = (OSError, ValueError, RuntimeError)
_SYSTEMS_WORDS = re.compile(r"([\w ]+) \[os_error_code")


class Snapshots:
    """Numbered snapshots {state: a pytree of arrays, meta: JSON} in a folder."""

    def __init__(self, folder: pathlib.Path, keep_last: int, keep_every: int = 0):
        """Keeps the newest `keep_last`, and those whose number is a multiple of `keep_every` (0:
        none).
        """
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep_last,
            keep_period=keep_every or None,
            cleanup_tmp_directories=True,
            # A network file system may show another process an older listing.
            single_host_load_and_broadcast=True,
        )
        self._folder = folder
        logging.getLogger("absl").addFilter(_is_not_orbax_error)
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    @property
    def latest(self) -> int | None:
        """The number of the newest one; None if there is none."""
        return self._manager.latest_step()

    def save(self, number: int, state: Any, meta: dict[str, Any]) -> None:
        """Copies the arrays off their devices, and writes them in the background.

        Raises InputError if this one, or the one before, cannot be written.
        """
        # Two items: the arrays, and the facts that can be read without them.
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            meta=ocp.args.JsonSave(meta),
        )
        with self._writing():
            self._manager.save(number, args=items, force=True)

    def restore_newest(self, abstract: Any) -> tuple[int, Any, dict[str, Any]]:
        """The newest snapshot that can be read: its number, its arrays and its facts.

        Newer ones, which are damaged, are named in warnings and set aside as NUMBER.damaged.

        Args:
          abstract: the arrays' shapes, with shardings that say where each goes.

        Raises:
          InputError: if none can be read, or none fits.
        """
        unreadable: list[int] = []
        reason = ""
        for number in sorted(self._manager.all_steps(), reverse=True):
            try:
                state, meta = self._restore(number, abstract)
            except UNREADABLE as error:
                reason = _reason(error)
                state = None
            if _on_all(state is not None):
                self._set_aside(unreadable)
                return number, state, meta
            absl_logging.warning("snapshot %d cannot be read: %s", number, reason)
            unreadable.append(number)
        raise InputError(
            f"no snapshot in {self._folder} can be read: {reason}; use another --workdir, or "
            f"remove {self._folder} to begin anew"
        )

    def _restore(self, number: int, abstract: Any) -> tuple[Any, dict[str, Any]]:
        """Arrays and facts of one snapshot. Raises one of UNREADABLE."""
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract),
            meta=ocp.args.JsonRestore(),
        )
        with _quiet_readers():
            found = self._manager.restore(number, args=items)
        return found["state"], found["meta"]

    def _set_aside(self, numbers: list[int]) -> None:
        """Gives snapshots names that are no numbers, so that theirs are free."""
        if not numbers:
            return
        if jax.process_index() == 0:
            for number in numbers:
                path = self._folder / str(number)
                path.rename(path.with_suffix(".damaged"))
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("damaged snapshots set aside")
        self._manager.reload()

    def wait(self) -> None:
        """Until all that was saved is on disk. Raises InputError if it cannot be written."""
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and ends the writing in the background. Raises as `wait`."""
        with self._writing():
            self._manager.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turns what writing raises, here or in the background, into one line."""
        try:
            yield
        except _UNWRITABLE as error:
            raise InputError(
                f"cannot write a snapshot to {self._folder}: {_reason(error)}; the snapshots "
                "before it are whole: make room, and the same command goes on from the newest one"
            ) from None


def _reason(error: Exception) -> str:
    """What the operating system said, or the beginning of the message."""
    text = " ".join(str(error).split())
    systems = _SYSTEMS_WORDS.search(text)
    if systems:
        return systems[1].strip()
    return text[:200] or type(error).__name__


def _on_all(success: bool) -> bool:
    """Whether it went well on all processes."""
    if jax.process_count() == 1:
        return success
    return bool(np.all(multihost_utils.process_allgather(np.array(success))))


def _is_not_orbax_error(record: logging.LogRecord) -> bool:
    """Drops the tracebacks that orbax logs of errors that it raises as well."""
    return record.exc_info is None or "orbax" not in record.pathname


@contextlib.contextmanager
def _quiet_readers() -> Iterator[None]:
    """Keeps still the readings that go on in the background after another one has failed.

    Each would print a traceback, as the loop that waited for it is gone.
    """
    before = sys.unraisablehook

    def show(unraisable: Any) -> None:
        """As before, but for what is known."""
        if "Event loop is closed" not in str(unraisable.exc_value):
            before(unraisable)

    sys.unraisablehook = show
    try:
        yield
    finally:
        sys.unraisablehook = before
