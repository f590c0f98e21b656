"""Where a run writes: no output is an input, another output, or an earlier run's film.

Everything is checked before the work starts. While a run writes, its outputs are locked, so that a
second run with one of them is refused at once.
"""

import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from absl import logging

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import check_writable, write_json
from shotstream_jax.core.lock import locked
from shotstream_jax.generate.options import DEFAULT_OUT
from shotstream_jax.media.formats import check_film
from shotstream_jax.media.video import partial_path

_FILM = "film.json"  # in a kept story's folder: which film is its own


class OutputFiles(NamedTuple):
    """What a run of `shotstream generate` writes. story: the folder of --save-story."""

    video: pathlib.Path
    report: pathlib.Path | None
    story: pathlib.Path | None


def output_files(args: argparse.Namespace) -> OutputFiles:
    """The outputs that the options name. Raises InputError if one cannot be written."""
    video = args.out or next_free(pathlib.Path(DEFAULT_OUT))
    return OutputFiles(
        check_film(video),
        check_writable(args.report, ".json") if args.report else None,
        pathlib.Path(args.save_story) if args.save_story else None,
    )


@contextlib.contextmanager
def outputs_held(
    files: OutputFiles, inputs: Mapping[str, pathlib.Path], overwrite: bool
) -> Iterator[None]:
    """Keeps other runs on this machine from writing to these files, once they are checked.

    inputs, overwrite: as in `check_outputs`, whose errors it raises.
    """
    outputs = {"--out": files.video}
    if files.report:
        outputs["--report"] = files.report
    check_outputs(outputs, inputs, overwrite)
    with contextlib.ExitStack() as locks:
        for path in files:
            if path is not None:
                remedy = "wait for it, or choose another place"
                locks.enter_context(locked(_lock_file(path), str(path), remedy))
        # Once more: another run may have ended between the check and the lock.
        check_outputs(outputs, inputs, overwrite)
        yield


def input_files(args: argparse.Namespace, checkpoint: pathlib.Path) -> dict[str, pathlib.Path]:
    """The files that a run reads, or that a kept story has, by their options.

    checkpoint: its folder.
    """
    files = {"the checkpoint": checkpoint / "config.json"}
    if args.story:
        files["--story"] = pathlib.Path(args.story)
    if args.prompts and args.prompts != "-":
        files["--prompts"] = pathlib.Path(args.prompts)
    if args.picture:
        files["--picture"] = pathlib.Path(args.picture)
    if args.config.endswith(".py"):
        files["--config"] = pathlib.Path(args.config)
    if args.continue_story:
        files["--continue-story"] = pathlib.Path(args.continue_story) / "story.json"
    if args.save_story:
        files["--save-story"] = pathlib.Path(args.save_story) / "story.json"
    return files


def next_free(path: pathlib.Path) -> pathlib.Path:
    """The path, or the first of NAME-2, NAME-3, … that is not there."""
    free = path
    number = 2
    while _is_there(free):
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return free


def check_outputs(
    outputs: Mapping[str, pathlib.Path], inputs: Mapping[str, pathlib.Path], overwrite: bool
) -> None:
    """Refuses outputs that would destroy something.

    Args:
      outputs: the files that will be written, by their options.
      inputs: the files that are read or kept, by their options.
      overwrite: files that are there may be replaced, but never an input.

    Raises:
      InputError: for an output that is an input, another output or, without `overwrite`, a file.
    """
    earlier = dict(inputs)
    for option, path in outputs.items():
        for other, taken in earlier.items():
            if _is_same(path, taken):
                raise InputError(f"{option} {path} is the file of {other}: name another one")
            if _is_inside(path, taken) or _is_inside(taken, path):
                raise InputError(f"{option} {path} and {other} {taken} lie in each other")
        if _is_there(path) and not overwrite:
            raise InputError(
                f"{option} {path} is there already: name another file, or add --overwrite"
            )
        earlier[option] = path


def keep_unfinished(video: pathlib.Path) -> pathlib.Path | None:
    """Moves an earlier run's unfinished film out of the way; returns where it is now.

    None if there is none. Raises OSError.
    """
    partial = partial_path(video)
    if not _is_there(partial):
        return None
    kept = next_free(partial)
    partial.rename(kept)
    logging.info("an earlier run's unfinished film is kept as %s", kept)
    return kept


def remember_film(folder: pathlib.Path, video: pathlib.Path) -> None:
    """Notes in a kept story's folder which unfinished film is its own. Raises OSError."""
    partial = partial_path(video)
    if partial.is_file():
        write_json(folder / _FILM, _identity(partial))


def is_film_of(folder: pathlib.Path, film: pathlib.Path) -> bool:
    """Whether an unfinished film, perhaps under a new name, is the one that a folder remembers."""
    try:
        noted = json.loads((folder / _FILM).read_text())
    except (OSError, ValueError):
        return False
    return noted == _identity(film)


def _identity(film: pathlib.Path) -> dict[str, int]:
    """What a file keeps when it is renamed, and no other file on its disk has."""
    status = film.stat()
    return {"device": status.st_dev, "inode": status.st_ino}


def _is_there(path: pathlib.Path) -> bool:
    """Whether the path is taken; a link that leads nowhere takes it too."""
    return path.exists() or path.is_symlink()


def _is_same(a: pathlib.Path, b: pathlib.Path) -> bool:
    """Whether two paths are, or would become, one file."""
    if a.exists() and b.exists():
        return os.path.samefile(a, b)
    return _place(a) == _place(b)


def _is_inside(inner: pathlib.Path, outer: pathlib.Path) -> bool:
    """Whether a path lies below another one that is a file, or will be."""
    return pathlib.Path(_place(outer)) in pathlib.Path(_place(inner)).parents


def _place(path: pathlib.Path) -> str:
    """Where a path leads, links followed; some disks know no upper case, so nor does this."""
    return str(path.resolve()).casefold()


def _lock_file(path: pathlib.Path) -> pathlib.Path:
    """The lock of an output: in the folder for temporary files, so that none is left beside it."""
    name = hashlib.sha256(_place(path).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return pathlib.Path(tempfile.gettempdir()) / f"shotstream-{os.getuid()}-{name}.lock"
