"""How a run is asked to stop: SIGTERM (preemption) and Ctrl-C."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import jax
from absl import logging
from jax.experimental import multihost_utils


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that the signals to stop fill: SIGTERM, and the first SIGINT (Ctrl-C).

    A second Ctrl-C stops at once. Among several processes JAX's own service catches SIGTERM, and
    agrees on a step; a Ctrl-C is handed on to it. Outside of the main thread, where Python has no
    signals, the list stays empty.
    """
    signals: list[int] = []
    # Python hears signals in its main thread only.
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    is_alone = jax.process_count() == 1

    def ask(number: int, _: FrameType | None) -> None:
        """Notes the signal; the loop sees it after the step."""
        signals.append(number)
        # The next Ctrl-C is Python's own again.
        if number == signal.SIGINT:
            logging.info(
                "stopping after the next step, with a snapshot; Ctrl-C again stops at once"
            )
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if not is_alone:
                os.kill(os.getpid(), signal.SIGTERM)

    # The caller's handlers come back afterwards.
    before: dict[int, Any] = {signal.SIGINT: signal.signal(signal.SIGINT, ask)}
    if is_alone:
        before[signal.SIGTERM] = signal.signal(signal.SIGTERM, ask)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def must_stop(signals: list[int], step: int) -> bool:
    """Whether the run ends after this step; among several processes all agree."""
    if jax.process_count() > 1:
        return multihost_utils.reached_preemption_sync_point(step)
    return bool(signals)
