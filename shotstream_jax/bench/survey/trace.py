"""Which kernels a call spends its time in: the profiler's trace as a table.

jax.profiler leaves a folder with a `.trace.json.gz` in Chrome's format. Its events have a process,
a thread and, where an operation of a compiled program runs, the name of that operation. The kernels
are, in this order of preference,

    on a GPU        the events of the device's streams
    on a TPU        those of the device's line of operations
    on a processor  those that name an operation, on all threads

An operation that calls others (a loop) counts with what is left of its time without them.
"""

import collections
import gzip
import json
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax

Event = Mapping[str, Any]


class TracedKernel(NamedTuple):
    """A line of the table. op: the compiled program's name for it, "" if the trace has none."""

    name: str
    op: str
    total_us: float
    calls: int


class _Thread(NamedTuple):
    """A line of a trace: the names of its process and of its thread."""

    process: str
    thread: str


def traced_kernels(call: Callable[[], Any]) -> list[TracedKernel]:
    """The kernels of one call, which should have been called before; the longest first.

    Raises FileNotFoundError if the profiler has left no trace, ValueError if it saw no kernels.
    """
    options = jax.profiler.ProfileOptions()
    # Python's own calls would fill the trace, which has a largest number of events.
    options.python_tracer_level = 0
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            jax.block_until_ready(call())
        kernels = read_trace(pathlib.Path(folder))
    if not kernels:
        raise ValueError("the profiler saw no kernels")
    return kernels


def read_trace(folder: pathlib.Path) -> list[TracedKernel]:
    """The table of the one trace in a folder. Raises FileNotFoundError if there is none."""
    files = sorted(folder.rglob("*.trace.json.gz"))
    if not files:
        raise FileNotFoundError(f"the profiler has left no trace in {folder}")
    with gzip.open(files[-1]) as file:
        events = json.load(file)["traceEvents"]
    return kernel_table(events)


def kernel_table(events: Iterable[Event]) -> list[TracedKernel]:
    """Total time and number of calls of each kernel in a trace, the longest first."""
    total: dict[tuple[str, str], float] = collections.defaultdict(float)
    calls: dict[tuple[str, str], int] = collections.Counter()
    # A kernel that contains others counts its own time only.
    for thread in _kernel_events(list(events)):
        for event, own in _own_times(thread):
            key = (event["name"], event.get("args", {}).get("hlo_op", ""))
            total[key] += own
            calls[key] += 1
    table = [TracedKernel(*key, total[key], calls[key]) for key in total]
    return sorted(table, key=lambda kernel: -kernel.total_us)


def _kernel_events(events: list[Event]) -> list[list[Event]]:
    """The events that are kernels, thread by thread."""
    names = _thread_names(events)
    by_thread: dict[tuple[int, int], list[Event]] = collections.defaultdict(list)
    for event in events:
        if event.get("ph") == "X":
            by_thread[event["pid"], event["tid"]].append(event)
    # Only one of a device's lines has the kernels; others (modules, steps) sum them up.
    for line in ("Stream", "XLA Ops"):
        found = []
        for key, thread in by_thread.items():
            where = names.get(key, _Thread("", ""))
            if where.process.startswith("/device:") and where.thread.startswith(line):
                found.append(thread)
        if found:
            return found
    # A processor has no line of a device: its operations run in threads of the host.
    operations = []
    for thread in by_thread.values():
        operations.append([event for event in thread if "hlo_op" in event.get("args", {})])
    return operations


def _thread_names(events: Iterable[Event]) -> dict[tuple[int, int], _Thread]:
    """The names of every (process, thread)."""
    processes: dict[int, str] = {}
    threads: dict[tuple[int, int], str] = {}
    for event in events:
        if event.get("ph") != "M":
            continue
        if event["name"] == "process_name":
            processes[event["pid"]] = event["args"]["name"]
        elif event["name"] == "thread_name":
            threads[event["pid"], event["tid"]] = event["args"]["name"]
    # Both names are needed: threads of all processes are called alike.
    names = {}
    for (pid, tid), thread in threads.items():
        names[pid, tid] = _Thread(processes.get(pid, ""), thread)
    return names


def _own_times(thread: Iterable[Event]) -> Iterator[tuple[Event, float]]:
    """Each event of a thread with its duration less that of the events inside it, in µs."""
    # Open events, the innermost last: [event, end, own time].
    open_events: list[list[Any]] = []
    for event in sorted(thread, key=lambda event: (event["ts"], -event.get("dur", 0))):
        duration = event.get("dur", 0.0)
        while open_events and open_events[-1][1] <= event["ts"]:
            done, _, own = open_events.pop()
            yield done, own
        # Kernels that overlap without being nested keep their whole time.
        end = event["ts"] + duration
        if open_events and end <= open_events[-1][1]:
            open_events[-1][2] -= duration
        open_events.append([event, end, duration])
    # What is still open when the trace ends.
    for event, _, own in open_events:
        yield event, own


def kernel_rows(kernels: Iterable[TracedKernel]) -> list[dict[str, Any]]:
    """The table for a JSON file, each kernel with its share of the whole."""
    rows = [kernel._asdict() for kernel in kernels]
    whole = sum(row["total_us"] for row in rows)
    for row in rows:
        row["share"] = round(row["total_us"] / whole, 4) if whole else 0.0
        row["total_us"] = round(row["total_us"], 2)
    return rows
