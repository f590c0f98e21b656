"""A second Ctrl-C ends a run at once, even while Python waits for a device."""

import os
import pathlib
import signal
import subprocess
import sys
import threading

from shotstream_jax.generate.interrupt import watched_interrupts

ROOT = pathlib.Path(__file__).parents[2]
# The first Ctrl-C makes Python as deaf as it is while a device computes, for hours.
DEAF = """
import hashlib, signal, sys
from shotstream_jax.generate.interrupt import watched_interrupts
signal.signal(signal.SIGINT, lambda *_: hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1))
with watched_interrupts():
    sys.stderr.write("working\\n")
    signal.pause()
"""


def test_the_second_ends_at_once():
    process = subprocess.Popen(
        [sys.executable, "-c", DEAF],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr.readline() == "working\n"
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "\n"
    assert process.stderr.readline() == "ending after this chunk; Ctrl-C again ends at once\n"
    process.send_signal(signal.SIGINT)
    assert "interrupted at once" in process.stderr.read()
    assert process.wait() == 130


def test_what_was_there_is_put_back():
    before = signal.set_wakeup_fd(-1)
    threads = threading.active_count()
    with watched_interrupts():
        assert threading.active_count() == threads + 1
    assert signal.set_wakeup_fd(-1) == -1 and threading.active_count() == threads
    signal.set_wakeup_fd(before)


def test_outside_of_the_main_thread_nothing_is_watched():
    entered = []

    def enter():
        with watched_interrupts():
            entered.append(threading.active_count())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert len(entered) == 1
