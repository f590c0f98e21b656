"""Snapshots of a run (orbax): written in the background, restored onto any mesh."""

import pathlib
from typing import Any

import orbax.checkpoint as ocp

from shotstream_jax.core.errors import InputError


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
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    @property
    def latest(self) -> int | None:
        """The number of the newest one; None if there is none."""
        return self._manager.latest_step()

    def save(self, number: int, state: Any, meta: dict[str, Any]) -> None:
        """Copies the arrays off their devices, and writes them in the background."""
        # Two items: the arrays, and the facts that can be read without them.
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            meta=ocp.args.JsonSave(meta),
        )
        self._manager.save(number, args=items, force=True)

    def meta(self, number: int) -> dict[str, Any]:
        """The facts that were saved with a snapshot."""
        items = ocp.args.Composite(meta=ocp.args.JsonRestore())
        return self._manager.restore(number, args=items)["meta"]

    def restore(self, number: int, abstract: Any) -> Any:
        """The arrays, each where `abstract` (shapes with shardings) says.

        Raises InputError if they do not fit.
        """
        items = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
        try:
            return self._manager.restore(number, args=items)["state"]
        except (ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"checkpoint {number} does not fit this recipe ({reason}): use another workdir"
            ) from None

    def wait(self) -> None:
        """Until all that was saved is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and ends the writing in the background."""
        self._manager.close()
