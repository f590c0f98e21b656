"""Carry training runs to another machine in files of at most 16 MB, where they go on.

  python -m shotstream_jax.train.carry pack out/tiny --out carried
  python -m shotstream_jax.train.carry unpack carried --out out/tiny

What is packed is a run's folder, or a folder of runs: of a run that is done its model, of any other
its newest snapshot; config.json and metrics.jsonl of both. Unpacked, a run goes on by the command
that it was begun with, bit for bit. Where that is too large, --moments says what may be lost of the
optimiser's state: `bf16` rounds its moments to bfloat16, `none` leaves them out, so that they are
gathered again from the next step on; an average of the weights is then rounded to bfloat16 too. The
weights are always exact.

carry.json          what is carried, and the sizes and checksums of the parts; written last
part-000 …          one tar archive, cut into pieces
"""

import contextlib
import hashlib
import io
import json
import pathlib
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.checkpoint.save import save_some
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import check_writable_folder, write_json
from shotstream_jax.train.run.snapshots import UNREADABLE, Snapshots

FORMAT = 1
MANIFEST = "carry.json"
MOMENTS = ("exact", "bf16", "none")
_MB = 10**6
_BLOCK = 2**20  # bytes read at a time
_LOGS = ("config.json", "metrics.jsonl")


def parser() -> cli.Parser:
    """The options of both commands."""
    p = cli.make_parser("shotstream_jax.train.carry", __doc__)
    p.add_argument("command", choices=("pack", "unpack"), help="what is to be done")
    p.add_argument("source", metavar="DIR", help="pack: the runs; unpack: the folder of parts")
    p.add_argument("--out", required=True, metavar="DIR", help="the folder that is made")
    p.add_argument(
        "--runs",
        metavar="NAME[:PART+…],…",
        help="pack: these of a folder of runs, and of a model the parts named (default: all)",
    )
    p.add_argument(
        "--part-mb",
        type=int,
        default=16,
        metavar="N",
        help="pack: the most megabytes of a part (default: %(default)s)",
    )
    p.add_argument(
        "--moments",
        choices=MOMENTS,
        default=MOMENTS[0],
        help="pack: how the optimiser's moments are kept (default: %(default)s)",
    )
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command. Raises InputError."""
    args = parser().parse_args(argv)
    if args.command == "unpack":
        unpack_runs(pathlib.Path(args.source), pathlib.Path(args.out))
        return
    runs = parse_runs(args.runs) if args.runs else None
    pack_runs(pathlib.Path(args.source), pathlib.Path(args.out), args.part_mb, args.moments, runs)


def parse_runs(text: str) -> dict[str, list[str]]:
    """--runs: the parts of a model that are wanted, by the run's name; none named: all."""
    wanted = {}
    for word in text.split(","):
        name, _, parts = word.partition(":")
        wanted[name] = parts.split("+") if parts else []
    return wanted


def pack_runs(
    source: pathlib.Path,
    out: pathlib.Path,
    part_mb: int = 16,
    moments: str = "exact",
    wanted: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Writes the parts of a run's folder, or of a folder of runs; an older set is replaced.

    part_mb: the most megabytes of a part. moments: of MOMENTS. wanted: the names of
    the runs, each with the parts of its model that are carried (none: all); None for all runs.
    Raises InputError if there is nothing to carry, or if a file cannot be read or written.
    """
    if part_mb < 1:
        raise InputError(f"--part-mb {part_mb} must be at least 1")
    runs = find_runs(source, list(wanted) if wanted else None)
    check_writable_folder(out, "the parts")
    if out.exists() and any(out.iterdir()) and not (out / MANIFEST).exists():
        raise InputError(f"{out} holds something else: choose another --out")
    new = out.with_name(out.name + ".partial")
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        with tempfile.TemporaryDirectory(dir=new.parent) as scratch:
            files = _files(source, runs, moments, wanted or {}, pathlib.Path(scratch))
            parts = _write_parts(new, files, part_mb * _MB)
        stands = {run.name: _stand(run) for run in runs}
        manifest = {"format": FORMAT, "moments": moments, "runs": stands, "parts": parts}
        write_json(new / MANIFEST, manifest)
        # The new set is complete before an older one is removed.
        shutil.rmtree(out, ignore_errors=True)
        new.replace(out)
    except OSError as error:
        raise InputError(f"cannot pack {source} into {out}: {error.strerror}") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
    total = sum(part["bytes"] for part in parts) / _MB
    cli.print_line(f"{out}: {_told(stands)}; {len(parts)} parts, {total:.1f} MB")


def unpack_runs(source: pathlib.Path, out: pathlib.Path) -> None:
    """Makes the folder that was packed, completely or not at all.

    Raises InputError if a part is missing or damaged, or if the folder is there already.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is there already: choose another --out, or remove it")
    check_writable_folder(out, "the runs")
    manifest = read_manifest(source)
    # All parts are looked at before anything is written.
    for part in manifest["parts"]:
        _check_part(source, part)
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with _joined(source, manifest) as whole, tarfile.open(fileobj=whole, mode="r|") as tar:
            tar.extractall(partial, filter="data")
        if out.exists():
            out.rmdir()
        partial.replace(out)
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"cannot unpack {source} into {out}: {error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    cli.print_line(f"{out}: {_told(manifest['runs'])}")


def find_runs(source: pathlib.Path, names: Sequence[str] | None) -> list[pathlib.Path]:
    """The runs of a folder that have something to carry. Raises InputError if there is none."""
    if (source / "config.json").exists():
        folders = [source]
    elif names is None:
        folders = sorted(path.parent for path in source.glob("*/config.json"))
    else:
        folders = [source / name for name in names]
    runs = []
    for run in folders:
        if _is_done(run) or _newest(run) is not None:
            runs.append(run)
        elif names is not None:
            raise InputError(f"{run} has neither a model nor a snapshot: nothing to carry")
    if not runs:
        raise InputError(f"{source} has no run with a model or a snapshot: nothing to carry")
    return runs


def read_manifest(source: pathlib.Path) -> dict[str, Any]:
    """What a folder of parts says of itself. Raises InputError if it is none."""
    path = source / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        is_known = manifest["format"] == FORMAT
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} is damaged: bring it once more") from None
    if not is_known:
        raise InputError(f"{path} has format {manifest['format']}, this version reads {FORMAT}")
    return manifest


def thinned(tree: Any, moments: str) -> Any:
    """A snapshot's arrays with what may be lost rounded to bfloat16, or zero.

    tree: nested dictionaries and lists as orbax reads them. moments: "bf16" or "none". Numbers keep
    their types: rounded ones, whose last bits are zeros, are packed to half of their size.
    """
    if isinstance(tree, list):
        return [thinned(node, moments) for node in tree]
    if not isinstance(tree, dict):
        return tree
    has_moments = "nu" in tree
    kept = {}
    for name, node in tree.items():
        if name == "ema":
            kept[name] = jax.tree.map(_rounded, node)
        elif has_moments and name in ("mu", "nu") and moments == "bf16":
            kept[name] = jax.tree.map(_rounded, node)
        elif has_moments and moments == "none":
            # The counter too: it corrects the bias of moments that begin at zero.
            kept[name] = jax.tree.map(np.zeros_like, node)
        else:
            kept[name] = thinned(node, moments)
    return kept


def _rounded(array: np.ndarray) -> np.ndarray:
    """To bfloat16's eight bits, in the array's own type."""
    return array.astype(jnp.bfloat16).astype(array.dtype)


def _is_done(run: pathlib.Path) -> bool:
    """Whether a run has made its model."""
    return (run / "model").is_dir()


def _stand(run: pathlib.Path) -> str:
    """How far a run is."""
    if _is_done(run):
        return "done"
    config = json.loads((run / "config.json").read_text())
    return f"after step {_newest(run)} of {config['recipe']['run']['steps']}"


def _newest(run: pathlib.Path) -> int | None:
    """The number of a run's newest snapshot."""
    numbers = []
    for path in run.glob("checkpoints/*"):
        if path.name.isdecimal():
            numbers.append(int(path.name))
    return max(numbers, default=None)


def _files(
    source: pathlib.Path,
    runs: Sequence[pathlib.Path],
    moments: str,
    wanted: Mapping[str, Sequence[str]],
    scratch: pathlib.Path,
) -> Iterator[tuple[str, pathlib.Path]]:
    """Names in the archive, and the files or folders that are packed under them."""
    for run in runs:
        within = run.relative_to(source)
        for name in _LOGS:
            if (run / name).exists():
                yield str(within / name), run / name
        if _is_done(run):
            model = run / "model"
            parts = wanted.get(run.name)
            if parts:
                model = scratch / run.name / "model"
                model.parent.mkdir()
                save_some(open_checkpoint(run / "model"), parts, model)
            yield str(within / "model"), model
            continue
        number = _newest(run)
        snapshot = run / "checkpoints" / str(number)
        if moments != "exact":
            snapshot = _thinned_snapshot(snapshot, scratch / run.name, moments)
        yield str(within / "checkpoints" / str(number)), snapshot


def _thinned_snapshot(snapshot: pathlib.Path, folder: pathlib.Path, moments: str) -> pathlib.Path:
    """A snapshot like another one, but for what may be lost."""
    meta = json.loads((snapshot / "meta" / "metadata").read_text())
    writer = Snapshots(folder, keep_last=1)
    writer.save(int(snapshot.name), thinned(read_state(snapshot), moments), meta)
    writer.close()
    return folder / snapshot.name


def read_state(snapshot: pathlib.Path) -> Any:
    """A snapshot's arrays as nested dictionaries and lists of numpy arrays, of any stage.

    Raises InputError if it is damaged.
    """
    path = snapshot.absolute() / "state"
    try:
        with ocp.PyTreeCheckpointer() as reader:
            shapes = reader.metadata(path).item_metadata.tree
            # Numpy arrays, whatever devices it was written from.
            wanted = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
            return reader.restore(path, args=ocp.args.PyTreeRestore(restore_args=wanted))
    except UNREADABLE as error:
        raise InputError(f"snapshot {snapshot} cannot be read: {error}"[:300]) from None


def _write_parts(
    folder: pathlib.Path, files: Iterator[tuple[str, pathlib.Path]], size: int
) -> list[dict[str, Any]]:
    """Writes one archive, cut; returns the parts' names, sizes and checksums."""
    writer = _PartWriter(folder, size)
    with tarfile.open(fileobj=writer, mode="w|") as tar:
        for name, path in files:
            tar.add(path, name)
    writer.close()
    parts = []
    for path in sorted(folder.glob("part-*")):
        parts.append({"name": path.name, "bytes": path.stat().st_size, "sha256": _sha256(path)})
    return parts


class _PartWriter(io.RawIOBase):
    """A file that is written to part-000, part-001, … of at most `size` bytes each."""

    def __init__(self, folder: pathlib.Path, size: int):
        self._folder = folder
        self._size = size
        self._parts = 0
        self._room = 0
        self._file: Any = None

    def writable(self) -> bool:
        """Whether one can write to it."""
        return True

    def write(self, data: Any) -> int:
        """Appends bytes; begins the next part where one is full."""
        rest = memoryview(data)
        while rest:
            if not self._room:
                self._begin_part()
            piece = rest[: self._room]
            self._file.write(piece)
            self._room -= len(piece)
            rest = rest[len(piece) :]
        return len(data)

    def close(self) -> None:
        """Ends the last part."""
        if self._file is not None:
            self._file.close()
        super().close()

    def _begin_part(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = (self._folder / f"part-{self._parts:03d}").open("wb")
        self._parts += 1
        self._room = self._size


@contextlib.contextmanager
def _joined(source: pathlib.Path, manifest: dict[str, Any]) -> Iterator[Any]:
    """The archive that the parts are cut from, as one file."""
    with tempfile.TemporaryFile() as whole:
        for part in manifest["parts"]:
            with (source / part["name"]).open("rb") as file:
                shutil.copyfileobj(file, whole)
        whole.seek(0)
        yield whole


def _check_part(source: pathlib.Path, part: dict[str, Any]) -> None:
    """Raises InputError if a part is not what was packed."""
    path = source / part["name"]
    try:
        is_whole = path.stat().st_size == part["bytes"] and _sha256(path) == part["sha256"]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; bring it once more") from None
    if not is_whole:
        raise InputError(f"{path} is damaged or cut off: bring it once more")


def _sha256(path: pathlib.Path) -> str:
    """The checksum of a file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def _told(stands: Mapping[str, str]) -> str:
    """The runs, and how far each is."""
    return ", ".join(f"{name} {stand}" for name, stand in stands.items())


if __name__ == "__main__":
    cli.run(main)
