"""The folder of encoded clips: what precompute writes and training reads.

    settings.json                          what the folder is made with; written first
    negative.npz                           text [l, e]: the negative prompt's embedding
    shard-00000-of-00004.array_record      one record a clip, read at random
    shard-00000-of-00004.json              the shard's clips; written when the shard is complete
    dataset.json                           settings and all shards; written when all are complete

Every file has its name only when it is whole, so runs may share a folder as long as they share no
shard.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import pathlib
import typing
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import whole, write_whole
from shotstream_jax.data.records import ClipRecord, pack, unpack

if TYPE_CHECKING:  # imported when a folder is opened: whoever has no data need not have it
    from grain.sources import ArrayRecordDataSource

FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Broken:
    """A clip that could not be encoded.

    files: the state of its files then (precompute/broken.files_state); "" in folders older than
    this field.
    """

    name: str
    reason: str
    files: str = ""


@dataclasses.dataclass(frozen=True)
class ClipInfo:
    """What a shard's index says of a clip. shots: latent frames of each shot's target."""

    name: str
    shots: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a folder is made with.

    clips_sha256: of the table's names, captions and intervals.
    text_sha256, vae_sha256: checksums (checkpoint/checksum) of the text encoder that embedded the
    prompts and of the autoencoder that encoded the pictures; "" in folders older than these fields.
    """

    format: int
    preset: str
    height: int
    width: int
    fps: int
    context: int
    shot_frames: int
    dtype: str
    checkpoint: str
    negative_prompt: str
    csv: str
    clips_sha256: str
    shard_count: int
    text_sha256: str = ""
    vae_sha256: str = ""

    def __post_init__(self) -> None:
        for name, kind in typing.get_type_hints(Settings).items():
            if type(getattr(self, name)) is not kind:
                raise InputError(f"{name} must be {kind.__name__}, not {getattr(self, name)!r:.40}")

    @property
    def shards(self) -> list[str]:
        """The shards' names, without their suffixes."""
        count = self.shard_count
        return [f"shard-{number:05d}-of-{count:05d}" for number in range(count)]


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A complete folder.

    negative [l, e]: the negative prompt's embedding, float32. clips: in the order of `record`.
    """

    folder: pathlib.Path
    settings: Settings
    negative: np.ndarray
    clips: tuple[ClipInfo, ...]
    broken: tuple[Broken, ...]
    source: "ArrayRecordDataSource"

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def fingerprint(self) -> str:
        """Of its clips, their order, and what made them: runs and pairs name samples by number."""
        settings = self.settings
        made_by = [settings.clips_sha256, settings.vae_sha256, settings.text_sha256]
        clips = [dataclasses.astuple(clip) for clip in self.clips]
        return hashlib.sha256(json.dumps([made_by, clips]).encode()).hexdigest()

    def record(self, i: int) -> ClipRecord:
        """Clip number i, read from disk.

        Raises InputError if there is none, or if it is damaged.
        """
        if not 0 <= i < len(self):
            raise InputError(f"{self.folder} has clips 0 to {len(self) - 1}, not {i}")
        # A record must be what the index says of it, or a shard was exchanged.
        info = self.clips[i]
        try:
            record = unpack(self.source[i])
        except (RuntimeError, ValueError, IndexError, OSError) as error:
            raise InputError(
                f"clip {info.name} of {self.folder} cannot be read ({error}): "
                "remove its shard's .json and precompute again"
            ) from None
        if _info_of(record) != info:
            raise InputError(
                f"{self.folder}: clip {i} is {record.name}, not what dataset.json says: "
                "precompute again"
            )
        return record


def check_made_by(settings: Settings, checkpoint: str, checksums: Mapping[str, str]) -> None:
    """Raises InputError if a run would read a data set that other encoders have made than its own.

    checkpoint: the run's, by name. checksums: of those of its parts that matter to the run, by
    "text" and "vae" (checkpoint/checksum). A data set that does not know what made it is accepted.
    """
    encoders = (
        ("text", "text encoder", settings.text_sha256, "embed its prompts again (--latents-from)"),
        ("vae", "autoencoder", settings.vae_sha256, "make it again"),
    )
    for part, encoder, made_by, remedy in encoders:
        if made_by and part in checksums and made_by != checksums[part]:
            raise InputError(
                f"the data set was made with the {encoder} {made_by[:12]} (checkpoint "
                f"{settings.checkpoint}), the run's checkpoint {checkpoint} has the {encoder} "
                f"{checksums[part][:12]}: {remedy} by precompute "
                f"--config.checkpoint={checkpoint}"
            )


def claim_folder(folder: pathlib.Path, settings: Settings) -> None:
    """Writes settings.json, or refuses a folder that was made with others."""
    # Whoever comes first writes the settings; all others compare theirs.
    path = folder / "settings.json"
    wanted = dataclasses.asdict(settings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _write_shared(path, _json(wanted))
        there = json.loads(path.read_text("utf-8"))
        different = [name for name in wanted if there.get(name) != wanted[name]]
    except (ValueError, AttributeError):
        raise InputError(f"{path} is damaged: choose another folder, or remove this one") from None
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}; choose another place") from None
    if different:
        name = different[0]
        raise InputError(
            f"{folder} was made with other settings: {', '.join(different)} "
            f"({name} was {there.get(name)!r:.60}, is {wanted[name]!r:.60}); "
            "choose another folder, or remove this one"
        )


def shard_done(folder: pathlib.Path, shard: str) -> bool:
    """Whether a shard is complete."""
    return (folder / f"{shard}.json").exists()


def write_shard(folder: pathlib.Path, shard: str, results: Iterable[ClipRecord | Broken]) -> None:
    """Writes a shard as its clips come, and then its index.

    A shard whose clips are all broken has no records.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    clips = []
    broken = []
    path = folder / f"{shard}.array_record"
    with whole(path) as partial:
        with _writing(path):
            # No two clips in one block: they are read at random.
            writer = ArrayRecordWriter(str(partial), "group_size:1")
        for result in results:
            if isinstance(result, Broken):
                broken.append(dataclasses.asdict(result))
                continue
            with _writing(path):
                writer.write(pack(result))
            clips.append(dataclasses.asdict(_info_of(result)))
        with _writing(path):
            writer.close()
        # An index of earlier records is gone before those are.
        (folder / f"{shard}.json").unlink(missing_ok=True)
    write_whole(folder / f"{shard}.json", _json({"clips": clips, "broken": broken}))


def broken_clips(folder: pathlib.Path, shard: str) -> list[Broken]:
    """The clips of a complete shard that could not be encoded."""
    return [Broken(**entry) for entry in _read_json(folder / f"{shard}.json")["broken"]]


def begin_again(folder: pathlib.Path) -> None:
    """Says that a folder is not complete, before a shard of it is exchanged."""
    (folder / "dataset.json").unlink(missing_ok=True)


def shard_records(folder: pathlib.Path, shard: str) -> Iterator[ClipRecord]:
    """The records of a complete shard, in their order, each read when it is asked for."""
    from grain.sources import ArrayRecordDataSource

    count = len(_read_json(folder / f"{shard}.json")["clips"])
    # A shard without records is no file that can be opened.
    if count:
        source = ArrayRecordDataSource([str(folder / f"{shard}.array_record")])
        for number in range(count):
            yield unpack(source[number])


def _info_of(record: ClipRecord) -> ClipInfo:
    lengths = tuple(len(target) for target in record.targets)
    return ClipInfo(record.name, lengths)


def write_negative(folder: pathlib.Path, text: np.ndarray) -> None:
    """Keeps the negative prompt's embedding [l, e], in float32: npz has no bfloat16."""
    data = io.BytesIO()
    np.savez(data, text=text.astype(np.float32))
    _write_shared(folder / "negative.npz", data.getvalue())


def finish_dataset(folder: pathlib.Path, settings: Settings) -> bool:
    """Writes dataset.json if all shards are there; says whether.

    Raises InputError if every clip is broken.
    """
    # The shards' own indices, put together.
    shards = []
    broken = []
    clips = 0
    for shard in settings.shards:
        if not shard_done(folder, shard):
            return False
        index = _read_json(folder / f"{shard}.json")
        shards.append({"file": f"{shard}.array_record", "clips": index["clips"]})
        broken += index["broken"]
        clips += len(index["clips"])
    if clips == 0:
        raise InputError(
            f"all {len(broken)} clips are broken, the first one as {broken[0]['reason']}; "
            f"repair them, remove {folder} and start again"
        )
    content = dataclasses.asdict(settings) | {"shards": shards, "broken": broken}
    _write_shared(folder / "dataset.json", _json(content))
    return True


def open_dataset(folder: str | pathlib.Path) -> Dataset:
    """A folder that precompute has completed.

    Raises InputError if it is missing, incomplete, damaged or too old.
    """
    folder = pathlib.Path(folder)
    # dataset.json is written last, so with it the folder is complete.
    path = folder / "dataset.json"
    if not path.exists():
        begun = (folder / "settings.json").exists()
        what = "is not complete" if begun else "is not a data set"
        raise InputError(
            f"{folder} {what}: it has no dataset.json; run precompute with --out {folder}"
        )
    content = _read_json(path)
    if content.get("format") != FORMAT_VERSION:
        raise InputError(
            f"{folder} has format {content.get('format')}, this version reads {FORMAT_VERSION}: "
            "precompute again"
        )
    try:
        return _open_content(folder, content)
    except _DAMAGE as error:
        raise InputError(
            f"{folder} is damaged ({error}): take another copy, or precompute again"
        ) from None


# All that a folder with missing or changed files raises.
_DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    RuntimeError,
    EOFError,
    zipfile.BadZipFile,
)


def _open_content(folder: pathlib.Path, content: dict[str, Any]) -> Dataset:
    """A data set from what its dataset.json says.

    Raises one of _DAMAGE if the files differ from it.
    """
    # A field that an older folder lacks takes its default; Settings refuses if it has none.
    known = [field.name for field in dataclasses.fields(Settings) if field.name in content]
    settings = Settings(**{name: content[name] for name in known})
    clips = []
    files = []
    for shard in content["shards"]:
        files.append(folder / shard["file"])
        for clip in shard["clips"]:
            clips.append(ClipInfo(clip["name"], tuple(clip["shots"])))
    broken = tuple(Broken(**entry) for entry in content["broken"])
    with np.load(folder / "negative.npz", allow_pickle=False) as data:
        negative = data["text"]
    missing = [file.name for file in files if not file.exists()]
    if missing:
        raise InputError(f"it lacks {', '.join(missing)}")
    # All shards as one list of records, in the order of the clips.
    from grain.sources import ArrayRecordDataSource

    source = ArrayRecordDataSource([str(file) for file in files])
    if len(source) != len(clips):
        raise InputError(f"its shards hold {len(source)} clips, dataset.json says {len(clips)}")
    return Dataset(folder, settings, negative, tuple(clips), broken, source)


def shard_entries(dataset: Dataset, shard: int) -> Iterator[int | Broken]:
    """What a shard holds: the numbers of its clips, then its broken ones."""
    first = 0
    for name in dataset.settings.shards[:shard]:
        first += len(_read_json(dataset.folder / f"{name}.json")["clips"])
    index = _read_json(dataset.folder / f"{dataset.settings.shards[shard]}.json")
    yield from range(first, first + len(index["clips"]))
    for entry in index["broken"]:
        yield Broken(**entry)


@contextlib.contextmanager
def _writing(path: pathlib.Path) -> Iterator[None]:
    """ArrayRecord reports a full disk and the like as RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        raise InputError(f"cannot write {path}: {error}") from None


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
        if not isinstance(value, dict):
            raise ValueError("it is not an object")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}): remove it and precompute again") from None
    return value


def _write_shared(path: pathlib.Path, data: bytes) -> None:
    """A whole file that several runs may write at the same time.

    All write the same bytes, each under a name of its own.
    """
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    partial.write_bytes(data)
    os.replace(partial, path)
