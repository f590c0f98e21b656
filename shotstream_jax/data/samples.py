"""Which shots of a data set are trained on, and which are held out."""

import dataclasses
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.values import whole_number
from shotstream_jax.data.dataset import Dataset

_CHOICES = {"captions": ("each", "target"), "targets": ("last", "every")}


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What of a data set is trained on.

    path: the folder that precompute has made.
    frames: latent frames of a target; longer shots are cut, shorter ones skipped.
    captions: "each" (one a shot, read by that shot's frames) or "target" (the target's for all).
    targets: "last" (a clip's last shot) or "every" (each shot in turn, after those before it).
    held_out: the share of the clips that is never trained on.
    workers: reading threads.
    """

    path: str
    frames: int
    captions: str = "each"
    targets: str = "last"
    held_out: float = 0.02
    workers: int = 4

    def __post_init__(self) -> None:
        given = {"captions": self.captions, "targets": self.targets}
        for name, choices in _CHOICES.items():
            if given[name] not in choices:
                raise InputError(
                    f"data.{name} {given[name]!r} is not known; choose {' or '.join(choices)}"
                )
        object.__setattr__(self, "frames", whole_number(self.frames, "data.frames"))
        object.__setattr__(self, "workers", whole_number(self.workers, "data.workers"))
        if self.frames < 1:
            raise InputError(f"data.frames {self.frames} must be at least 1")
        if not 0 <= self.held_out < 1 or self.workers < 0:
            raise InputError(
                f"data.held_out {self.held_out} must be from 0 to below 1, "
                f"data.workers {self.workers} at least 0"
            )


class Sample(NamedTuple):
    """A target shot of a clip, both by number."""

    clip: int
    shot: int


class Samples(NamedTuple):
    """Target shots, and what is lost.

    train and held_out share no clip. lost: how many targets, by the reason.
    """

    train: list[Sample]
    held_out: list[Sample]
    lost: dict[str, int]


def find_samples(dataset: Dataset, cfg: DataConfig) -> Samples:
    """Which shots can be targets. Raises InputError if none can."""
    # Whole clips are held out: shots of one clip look alike.
    held_out_numbers = held_out_clips(dataset, cfg.held_out)
    train = []
    held_out = []
    lost: dict[str, int] = {}
    longest = 0
    for clip, info in enumerate(dataset.clips):
        # Which shots of the clip may be targets.
        last = len(info.shots) - 1
        shots = range(last + 1) if cfg.targets == "every" else [last]
        longest = max(longest, *info.shots)
        not_last = last if cfg.targets == "last" else 0
        _count(lost, "shots that are not the last of their clip (data.targets=last)", not_last)
        for shot in shots:
            if info.shots[shot] < cfg.frames:
                _count(lost, shorter(info.shots[shot], cfg.frames), 1)
            elif clip in held_out_numbers:
                held_out.append(Sample(clip, shot))
            else:
                train.append(Sample(clip, shot))
    if not train:
        raise InputError(
            f"{cfg.path} has no target of {cfg.frames} latent frames to train on "
            f"(the longest shot has {longest}): lower data.frames, or set data.targets=every"
        )
    _count(lost, "clips that could not be encoded", len(dataset.broken))
    return Samples(train, held_out, lost)


def whole_targets(dataset: Dataset) -> tuple[int, dict[str, int]]:
    """How many shots of a data set are as long as its targets can be, and what the others lack.

    Returns (the number, the numbers of all others by the reason).
    """
    longest = dataset.settings.shot_frames
    whole = 0
    lost: dict[str, int] = {}
    for info in dataset.clips:
        for frames in info.shots:
            if frames >= longest:
                whole += 1
            else:
                _count(lost, shorter(frames, longest), 1)
    return whole, dict(sorted(lost.items()))


def shorter(frames: int, wanted: int) -> str:
    """The reason for which a shot is no target of `wanted` latent frames."""
    return f"shots of {frames} latent frames ({wanted} wanted)"


def losses_text(lost: Mapping[str, int]) -> str:
    """What is lost, for a line of the log: ", 3 …, 1 …"; "" for nothing."""
    return "".join(f", {count} {reason}" for reason, count in lost.items() if count)


def _count(lost: dict[str, int], reason: str, number: int) -> None:
    """Adds to what is lost for a reason."""
    if number:
        lost[reason] = lost.get(reason, 0) + number


def held_out_clips(dataset: Dataset, share: float) -> set[int]:
    """The numbers of the clips that are never trained on; at least one if there is a choice.

    They are chosen by the hash of their names, so that adding data moves few of them.
    """
    if share == 0 or len(dataset) < 2:
        return set()
    # The first clips in the order of their hashes.
    count = max(1, round(share * len(dataset)))

    def name_hash(clip: int) -> int:
        """The same number for a clip's name in every run."""
        return zlib.crc32(dataset.clips[clip].name.encode())

    by_hash = sorted(range(len(dataset)), key=name_hash)
    return set(by_hash[:count])
