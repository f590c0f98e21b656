"""Runs of many processes: the option --distributed, and joining JAX's own runtime."""

import jax
from jax.experimental import multihost_utils

from shotstream_jax import cli
from shotstream_jax.core.errors import InputError

_AUTO = "auto"


def add_distributed_option(parser: cli.Parser) -> None:
    """The option --distributed."""
    parser.add_argument(
        "--distributed",
        metavar="HOST:PORT,N,I",
        nargs="?",
        const=_AUTO,
        help="many processes; without a value where JAX finds them itself (TPU pod, SLURM), "
        "otherwise the coordinator, the number of processes, and which one this is, from 0",
    )


def start_processes(distributed: str | None) -> None:
    """Joins the other processes. distributed: the option's value; None for a single process."""
    if distributed is None:
        return
    try:
        if distributed == _AUTO:
            jax.distributed.initialize()
        else:
            address, count, number = distributed.split(",")
            jax.distributed.initialize(address, int(count), int(number))
    except ValueError as error:
        raise InputError(
            f"--distributed {distributed}: {error}; write HOST:PORT,number of processes,this one "
            "from 0 (without a value it works on a TPU pod or under SLURM only)"
        ) from None


def wait_for_all(what: str) -> None:
    """Waits until all processes are here; `what` names the place."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)
