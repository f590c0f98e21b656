"""Runs the sections of a survey one after the other, each in a process of its own.

A section that crashes, hangs or runs out of memory costs itself and nothing else: the next one
starts with a free device. This process never takes the device into use.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import shotstream_jax
from shotstream_jax import cli
from shotstream_jax.bench.survey.keep import pack_cache, unpack_cache
from shotstream_jax.bench.survey.record import (
    FIELDS,
    NAME,
    finished_sections,
    read_results,
    write_line,
)
from shotstream_jax.bench.survey.report import print_section
from shotstream_jax.bench.survey.settings import SurveySettings
from shotstream_jax.bench.survey.table import Section
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.versions import installed_version

_PACKAGES = (
    "shotstream-jax",
    "jax",
    "jaxlib",
    "flax",
    "jax-cuda13-pjrt",
    "jax-cuda12-pjrt",
    "nvidia-cudnn-cu13",
    "nvidia-cudnn-cu12",
    "nvidia-cublas",
    "libtpu",
    "tokamax",
)
_MARGIN = 3.0  # seconds in which a section that sees its time end can still say so
_TAIL = 800  # characters of a failed section's output that are kept in the results


def run_survey(
    settings: SurveySettings,
    sections: Mapping[str, Section],
    minutes: float,
    resume: bool = False,
) -> None:
    """Runs the sections within so many minutes, in their order; skips those without time.

    resume: goes on in a folder with results. Raises InputError if it has results and this is not
    wanted, or if they are of other sizes.
    """
    # 1. The folder, and what is done in it already.
    stop = time.monotonic() + 60 * minutes
    settings = dataclasses.replace(settings, began=time.time())
    done = _prepare(settings, resume)
    # 2. What all sections share, and the line that says what this run is.
    environment = _environment(settings.folder)
    _write(settings, "run", **_about(settings, list(sections), minutes))
    # 3. Section by section, those of most value first.
    with _ended_by_signal():
        for name, section in sections.items():
            if name in done:
                continue
            left = stop - time.monotonic()
            # Better none than one that is cut off before it has found anything.
            if left < section.needs:
                reason = f"{max(0, left):.0f} s left, {section.needs:.0f} s needed"
                _write(settings, "end", section=name, status="skipped", reason=reason)
            else:
                limit = min(section.limit, left)
                _run_section(settings, name, section.call, limit, environment)
            print_section(settings.folder, name)
    # 4. The compiled programs, for the next time.
    kept = pack_cache(settings.folder, pathlib.Path(environment["SHOTSTREAM_CACHE_DIR"]))
    cli.print_line(f"{settings.folder / NAME}; {kept}")


def _prepare(settings: SurveySettings, resume: bool) -> set[str]:
    """Makes the folder; the sections that are done in it already."""
    folder = settings.folder
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    # Results of other sizes must not be mixed with these.
    runs = [line for line in read_results(folder) if line["line"] == "run"]
    if not runs:
        return set()
    if not resume:
        raise InputError(f"{folder} has results: --resume goes on with them, or name another --out")
    if runs[-1]["what"] != settings.what():
        raise InputError(
            f"--resume: the results in {folder} are of {runs[-1]['what']}; give the same options"
        )
    return finished_sections(folder)


def _environment(folder: pathlib.Path) -> dict[str, str]:
    """The sections' environment: the package found, the programs of earlier times there."""
    environment = dict(os.environ)
    # The package is found where it is, installed or not.
    root = str(pathlib.Path(shotstream_jax.__file__).resolve().parents[1])
    paths = [root, environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    environment["SHOTSTREAM_CACHE_DIR"] = str(unpack_cache(folder))
    return environment


def _about(settings: SurveySettings, names: Sequence[str], minutes: float) -> dict[str, Any]:
    """The line at the beginning of a command."""
    # What the numbers depend on: packages, and flags of the environment.
    versions = {}
    for package in _PACKAGES:
        version = installed_version(package)
        if version:
            versions[package] = version
    flags = {}
    for name in ("XLA_FLAGS", "SHOTSTREAM_ATTENTION", "JAX_PLATFORMS", "LIBTPU_INIT_ARGS"):
        if name in os.environ:
            flags[name] = os.environ[name]
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "what": settings.what(),
        "sections": names,
        "minutes": minutes,
        "seconds_each": settings.seconds,
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        "versions": versions,
        "environment": flags,
        "fields": FIELDS,
    }


def _run_section(
    settings: SurveySettings, name: str, call: str, limit: float, environment: dict[str, str]
) -> None:
    """Runs a section for at most `limit` seconds, and writes how it ended."""
    # The section knows its own end, a little before it is ended.
    seconds = max(limit - _MARGIN, limit / 2)
    as_json = json.dumps(dataclasses.asdict(settings))
    command = [sys.executable, "-m", "shotstream_jax.bench.survey"]
    command += [name, call, f"{seconds:.1f}", as_json]
    log = settings.folder / "logs" / f"{name}.log"
    began = time.monotonic()
    with log.open("wb") as output:
        # A group of its own, so that what the section starts ends with it.
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(limit)
            status = "failed" if code else "done"
        except subprocess.TimeoutExpired:
            code = None
            status = "timeout"
        finally:
            _end_group(process)
    # How it ended, with its last words if it failed.
    fields: dict[str, Any] = {"status": status, "seconds": time.monotonic() - began}
    if status == "failed":
        fields |= {"exit": code, "output": log.read_text(errors="replace")[-_TAIL:]}
    elif status == "timeout":
        fields["reason"] = f"ended after {limit:.0f} s"
    _write(settings, "end", section=name, **fields)


@contextlib.contextmanager
def _ended_by_signal() -> Iterator[None]:
    """SIGTERM ends this process as Ctrl-C does, so that no section is left with the device."""

    def interrupt(number: int, frame: Any) -> None:
        """The signal's handler."""
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends a section and whatever it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # all of it has ended by itself
    process.wait()


def _write(settings: SurveySettings, line: str, **fields: Any) -> None:
    first = {"line": line, "at": time.time() - settings.began}
    write_line(settings.folder, first | fields)
