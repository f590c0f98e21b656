"""The compiled programs of a survey, packed beside its results for the next time.

To compile everything anew takes minutes on a GPU. No more is kept than lets the folder of the
results stay small enough to be carried about.
"""

import pathlib
import tarfile

from shotstream_jax.core.compilation import cache_dir
from shotstream_jax.core.files import whole

NAME = "xla_cache.tgz"
MOST = 32 * 2**20  # bytes of the whole folder


def unpack_cache(folder: pathlib.Path) -> pathlib.Path:
    """The folder of compiled programs, with those that were packed beside earlier results."""
    place = cache_dir()
    place.mkdir(parents=True, exist_ok=True)
    if (folder / NAME).exists():
        with tarfile.open(folder / NAME) as packed:
            packed.extractall(place, filter="data")
    return place


def pack_cache(folder: pathlib.Path, cache: pathlib.Path) -> str:
    """Packs the newest compiled programs, as many as have room; says what was done."""
    path = folder / NAME
    path.unlink(missing_ok=True)
    room = MOST - sum(_size(file) for file in _files(folder))
    # The newest are this survey's own; the cache may have years of others.
    newest = sorted(_files(cache), key=lambda file: -file.stat().st_mtime)
    kept = 0
    with whole(path) as partial, tarfile.open(partial, "w:gz", compresslevel=1) as packed:
        for file in newest:
            room -= _size(file)
            if room < 0:
                break
            packed.add(file, arcname=str(file.relative_to(cache)))
            kept += 1
    return f"{kept} of {len(newest)} files of compiled programs are in {path}"


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _size(file: pathlib.Path) -> int:
    return file.stat().st_size
