"""Shards encoded by Ray Data: an actor for each device of a cluster, each with the encoders.

A shard is what one actor writes, whole, as a run without Ray would: one whose process dies is made
again by another. What is there already is not made again.
"""

import contextlib
import logging
import os
from typing import Any

import ray.data

from shotstream_jax.core.progress import progress_bar
from shotstream_jax.core.ray_cluster import any_cluster, device_share
from shotstream_jax.data.encode import load_encoders
from shotstream_jax.precompute.shards import ShardWork, keep_negative, write_one


def encode_on_ray(work: ShardWork) -> None:
    """Writes the shards, of which there are some, with a bar that counts them."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    shards = sorted(work.shards)
    name = str(work.folder)
    with any_cluster(1), progress_bar(total=len(shards), unit="shard", desc=name) as bar:
        ray.data.DataContext.get_current().enable_progress_bars = False
        devices, own = device_share()
        data = ray.data.from_items(shards, override_num_blocks=len(shards)).map(
            _Actor,
            fn_constructor_args=(work, os.getcwd()),
            compute=ray.data.ActorPoolStrategy(size=min(devices, len(shards))),
            num_gpus=own.get("GPU"),
            resources={"TPU": own["TPU"]} if "TPU" in own else None,
        )
        for _ in data.iter_rows():
            bar.update()


class _Actor:
    """The encoders on one device. here: where relative paths begin."""

    def __init__(self, work: ShardWork, here: str) -> None:
        self._work = work
        self._here = here
        self._encoders = load_encoders(work.checkpoint, work.recipe.dtype)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Writes a shard; the actor that has the first one writes what all share."""
        shard = row["item"]
        with contextlib.chdir(self._here):
            if shard == min(self._work.shards):
                keep_negative(self._encoders, self._work)
            write_one(self._encoders, self._work, shard, _nothing)
        return row


def _nothing() -> None:
    """Counts no clips."""
