"""The storyboard on a Ray of this machine's own, from its start to its end."""

import argparse
import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig

from shotstream_jax import cli
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.ray_cluster import device_share, own_cluster
from shotstream_jax.serve.options import address_of
from shotstream_jax.serve.ray_app import TELLER, make_application

_APP = "storyboard"


def run_on_ray(args: argparse.Namespace, words: Sequence[str]) -> None:
    """Runs the server with args.replicas tellers until it is told to end.

    words: the command line that args are of. Raises InputError.
    """
    with own_cluster(args.replicas), _serve_ended():
        options = {"num_replicas": args.replicas, "ray_actor_options": _share(args.replicas)}
        # Serve's own lines would have the addresses of stories in them.
        quiet = LoggingConfig(log_level="WARNING", enable_access_log=False)
        at = HTTPOptions(host=args.host, port=args.port)
        serve.start(http_options=at, logging_config=quiet)
        serve.run(make_application(words, options), name=_APP, logging_config=quiet)
        is_told = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: is_told.set())
        cli.print_line(f"The storyboard is at {address_of(args)}")
        is_told.wait()
        # What was begun is on disk and every viewer knows, before anything ends.
        serve.get_deployment_handle(TELLER, _APP).broadcast("finish").results()


@contextlib.contextmanager
def _serve_ended() -> Iterator[None]:
    """Serve is told to end afterwards, whatever happens."""
    try:
        yield
    finally:
        serve.shutdown()


def _share(replicas: int) -> dict[str, Any]:
    """What each teller has of this machine. Raises InputError if there are too few devices."""
    devices, own = device_share()
    if not own:
        return {"num_cpus": 1}
    (kind,) = own
    if devices < replicas:
        raise InputError(f"--replicas {replicas} need a {kind} each, there are {devices}")
    if kind == "GPU":
        return {"num_cpus": 1, "num_gpus": 1}
    return {"num_cpus": 1, "resources": own}
