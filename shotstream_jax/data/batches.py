"""Encoded clips → batches, in an order that depends on nothing but the seed (grain).

Global batch i is rows i·B … i·B + B − 1 of an endless shuffle; a process loads the rows that its devices hold. So the
position in the data is one number, the next global batch, and a run may go on with another number of processes or
devices: it sees the same batches.
"""

import dataclasses
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import grain
import jax
import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.data.records import ClipRecord, Dataset
from shotstream_jax.memory.select import select_from
from shotstream_jax.text.prompts import shot_prompt
from shotstream_jax.text.tokenizer import Tokenizer, tokenize

Row = dict[str, np.ndarray]
Texts = Callable[
    [ClipRecord, int], np.ndarray
]  # what a row has of a shot's prompt, in a slot of fixed length


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """path: precompute's folder. frames: latent frames of a target; longer ones are cut, shorter ones skipped.

    captions: "each" (one a shot, read by that shot's frames) or "target" (the target's for all frames).
    targets: "last" (a clip's last shot) or "every" (each shot in turn, after those before it).
    held_out: share of the clips that is never trained on. workers: reading threads.
    """

    path: str
    frames: int
    captions: str = "each"
    targets: str = "last"
    held_out: float = 0.02
    workers: int = 4

    def __post_init__(self) -> None:
        for name, choices in (("captions", ("each", "target")), ("targets", ("last", "every"))):
            if getattr(self, name) not in choices:
                raise InputError(
                    f"data.{name} {getattr(self, name)!r} is not known; choose {' or '.join(choices)}"
                )
        if not 0 <= self.held_out < 1 or self.workers < 0:
            raise InputError(
                f"data.held_out {self.held_out} must be from 0 to below 1, data.workers {self.workers} ≥ 0"
            )


class Sample(NamedTuple):
    """A target shot of a clip."""

    clip: int
    shot: int


class Samples(NamedTuple):
    """train and held_out share no clip. skipped: targets that are too short."""

    train: list[Sample]
    held_out: list[Sample]
    skipped: int


def find_samples(dataset: Dataset, cfg: DataConfig) -> Samples:
    """Which shots can be targets. Raises InputError if none can."""
    parts: dict[bool, list[Sample]] = {False: [], True: []}
    held, skipped = held_out_clips(dataset, cfg.held_out), 0
    for clip, info in enumerate(dataset.clips):
        for shot in range(len(info.shots)) if cfg.targets == "every" else [len(info.shots) - 1]:
            long = info.shots[shot] >= cfg.frames
            skipped += not long
            if long:
                parts[clip in held].append(Sample(clip, shot))
    if not parts[False]:
        longest = max(max(info.shots) for info in dataset.clips)
        raise InputError(
            f"{cfg.path} has no target of {cfg.frames} latent frames to train on (the longest shot has {longest}): "
            "lower data.frames, or set data.targets=every"
        )
    return Samples(parts[False], parts[True], skipped)


def held_out_clips(dataset: Dataset, share: float) -> set[int]:
    """Chosen by the hash of their names, so that more data moves few of them; at least one if there is a choice."""
    count = max(1, round(share * len(dataset))) if share and len(dataset) > 1 else 0
    by_hash = sorted(range(len(dataset)), key=lambda i: zlib.crc32(dataset.clips[i].name.encode()))
    return set(by_hash[:count])


def embeddings(length: int) -> Texts:
    """The prompt's embedding as it is stored [l, e], zero-padded."""
    return lambda record, shot: _padded(record.text[shot], length)


def token_ids(tokenizer: Tokenizer, length: int) -> Texts:
    """The prompt's ids [l], PAD behind them, for a text encoder that is trained."""

    def ids(record: ClipRecord, shot: int) -> np.ndarray:
        return tokenize(
            tokenizer, shot_prompt(record.global_caption, shot, record.captions[shot]), length
        ).ids

    return ids


def target_row(
    dataset: Dataset, sample: Sample, cfg: DataConfig, texts: Texts, masked: bool = False
) -> Row:
    """One target shot and its conditions (dit/conditions.Batch without the batch dimension); its mask, if asked for."""
    record, budget = dataset.record(sample.clip), dataset.settings.context
    target = record.targets[sample.shot][: cfg.frames].astype(np.float32)
    conditions = condition_row(record, sample.shot, budget, texts)
    if cfg.captions == "target":
        conditions["text"] = texts(record, sample.shot)[None]
        conditions["caption"] = np.zeros_like(conditions["caption"])
    mask = {"mask": record.masks[sample.shot][: cfg.frames].astype(np.float32)} if masked else {}
    return {"target": target} | mask | conditions


def condition_row(record: ClipRecord, shot: int, budget: int, texts: Texts) -> Row:
    """A shot's true context and the captions of its live shots, as generate/conditions has them for a stream."""
    first = max(0, shot - budget)
    slots = [texts(record, k) for k in range(first, shot + 1)]
    slots += [np.zeros_like(slots[0])] * (budget + 1 - len(slots))
    if shot == 0:  # zero latents of shot 0, and the shot is shot 1
        context = np.zeros((budget, *record.targets[0].shape[1:]), np.float32)
        phase, caption = np.append(np.zeros(budget), 1), np.zeros(budget + 1)
    else:
        pick = select_from(record.shots[:shot], budget)
        context = np.stack(
            [_latent(record, int(s), int(f)) for s, f in zip(pick.shots, pick.frames, strict=True)]
        )
        phase, caption = np.append(pick.shots, shot), np.append(pick.shots, shot) - first
    ids = {"phase": phase.astype(np.int32), "caption": caption.astype(np.int32)}
    return {"context": context.astype(np.float32), "text": np.stack(slots)} | ids


def story_row(dataset: Dataset, clip: int, shots: int, texts: Texts) -> Row:
    """The captions of a clip's first shots: all that a story that makes its own history needs."""
    record = dataset.record(clip)
    return {"text": np.stack([texts(record, k) for k in range(shots)])}


class Batches:
    """Endless global batches of which this process loads `rows`; at(i) may be asked in any order, in order is fast."""

    def __init__(
        self,
        samples: Sequence[Any],
        load: Callable[[Any], Row],
        *,
        size: int,
        rows: slice,
        seed: int,
        workers: int,
    ):
        source = grain.MapDataset.source(_List(samples)).seed(seed).shuffle().repeat().map(load)
        local = rows.stop - rows.start
        self._batches = source.batch(local, drop_remainder=True)[
            rows.start // local :: size // local
        ]
        threads = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=2 * max(workers, 1))
        self._reader = iter(self._batches.to_iter_dataset(threads))
        self._index, self._batch = -1, None

    def at(self, index: int) -> Row:
        """This process's rows of global batch `index`, stacked."""
        if index != self._index:
            if index != self._index + 1:
                self._reader.set_state({"next_index": index})
            self._index, self._batch = index, next(self._reader)
        return self._batch

    def state(self, index: int) -> dict[str, int]:
        """The reader's state from which batch `index` comes next."""
        return {"next_index": index}


class _List:
    """A list as a grain source."""

    def __init__(self, items: Sequence[Any]):
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Any:
        return self._items[index]


def local_rows(sharding: jax.sharding.Sharding, size: int) -> slice:
    """The rows of a global batch that this process's devices hold: a contiguous range, everywhere as long."""
    places = [
        index[0].indices(size)
        for index in sharding.addressable_devices_indices_map((size,)).values()
    ]
    start, stop = min(p[0] for p in places), max(p[1] for p in places)
    if (
        start % (stop - start)
        or len({p[0] for p in places}) * (places[0][1] - places[0][0]) != stop - start
    ):
        raise InputError(
            "the mesh deals a process rows that do not lie together: put data and fsdp first"
        )
    return slice(start, stop)


def _latent(record: ClipRecord, shot: int, frame: int) -> np.ndarray:
    return record.context[shot][int(np.flatnonzero(record.frames[shot] == frame)[0])]


def _padded(text: np.ndarray, length: int) -> np.ndarray:
    padded = np.zeros((length, text.shape[1]), text.dtype)
    padded[: len(text)] = text[:length]
    return padded
