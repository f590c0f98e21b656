"""Ray as our commands start it: with a token, without reports to its makers, at their niceness."""

import contextlib
import importlib.util
import logging
import os
import secrets
from collections.abc import Iterator

from shotstream_jax.core.errors import InputError

_TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def prepare_for_ray() -> None:
    """Sets what Ray reads from the environment as it is imported; call it before that.

    What the user has set stays. Raises InputError if the extra is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise InputError("ray is not installed: pip install 'shotstream-jax[ray]'")
    # Ray listens on all of a machine's addresses: whoever lacks this run's token is refused.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if not any(name in os.environ for name in (*_TOKENS, "RAY_ADDRESS")):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's own choice is 15, which leaves its work to whatever else runs here.
    os.environ.setdefault("RAY_worker_niceness", "0")


@contextlib.contextmanager
def own_cluster(least: int) -> Iterator[None]:
    """A Ray of this machine alone inside, with at least so many processors to share out."""
    import ray

    cores = max(os.cpu_count() or 1, least)
    quiet = logging.WARNING
    ray.init(address="local", num_cpus=cores, include_dashboard=False, logging_level=quiet)
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def any_cluster(least: int) -> Iterator[None]:
    """The Ray that is in use already, or that RAY_ADDRESS names, else one as `own_cluster`."""
    import ray

    if ray.is_initialized():
        yield
        return
    if "RAY_ADDRESS" not in os.environ:
        with own_cluster(least):
            yield
        return
    ray.init(logging_level=logging.WARNING)
    try:
        yield
    finally:
        ray.shutdown()


def device_share() -> tuple[int, dict[str, float]]:
    """(devices of the cluster, what a task or actor asks for to have one of its own).

    Without a GPU or TPU each node's processors are one device.
    """
    import ray

    there = ray.cluster_resources()
    for kind in ("GPU", "TPU"):
        if there.get(kind, 0) >= 1:
            return int(there[kind]), {kind: 1.0}
    return len(ray.nodes()), {}
