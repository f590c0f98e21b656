"""Which shots of a data set are trained on, and which are held out."""

import dataclasses
import zlib
from typing import NamedTuple

from shotstream_jax.core.errors import InputError
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
    """Target shots. train and held_out share no clip; skipped: how many shots are too short."""

    train: list[Sample]
    held_out: list[Sample]
    skipped: int


def find_samples(dataset: Dataset, cfg: DataConfig) -> Samples:
    """Which shots can be targets. Raises InputError if none can."""
    # Whole clips are held out: shots of one clip look alike.
    held_out_numbers = held_out_clips(dataset, cfg.held_out)
    train = []
    held_out = []
    skipped = 0
    longest = 0
    for clip, info in enumerate(dataset.clips):
        # Which shots of the clip may be targets.
        last = len(info.shots) - 1
        shots = range(last + 1) if cfg.targets == "every" else [last]
        longest = max(longest, *info.shots)
        for shot in shots:
            if info.shots[shot] < cfg.frames:
                skipped += 1
            elif clip in held_out_numbers:
                held_out.append(Sample(clip, shot))
            else:
                train.append(Sample(clip, shot))
    if not train:
        raise InputError(
            f"{cfg.path} has no target of {cfg.frames} latent frames to train on "
            f"(the longest shot has {longest}): lower data.frames, or set data.targets=every"
        )
    return Samples(train, held_out, skipped)


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
