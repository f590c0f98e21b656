"""The user's weights: which kinds there are, where they lie, and what lacks them.

A place is DIR, with a folder or file named by each kind (DIR/dino, DIR/aesthetic.pth, …), hf: for
the usual repository of each kind on the Hugging Face hub, or KIND=DIR, KIND=FILE and
KIND=hf:owner/name for one kind. Later places go before earlier ones.
"""

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from shotstream_jax.checkpoint.hub import (
    HUB_PREFIX,
    fetch,
    hub_origin,
    open_repository,
    read_hub_name,
)
from shotstream_jax.core.errors import InputError
from shotstream_jax.score.aesthetic import Aesthetic
from shotstream_jax.score.consistency import FrameConsistency
from shotstream_jax.score.dynamic import DynamicDegree
from shotstream_jax.score.figures import FrameMetric, ShotMetric
from shotstream_jax.score.films import OpenFilm
from shotstream_jax.score.image_encoders import clip_encoder, dino_encoder, dinov2_encoder
from shotstream_jax.score.judge import Judges, plain_metrics
from shotstream_jax.score.raft import raft_flow
from shotstream_jax.score.semantic import Semantic
from shotstream_jax.score.subjects import Subjects, sam_cutter, transformers_detector
from shotstream_jax.score.torch_io import check_torch
from shotstream_jax.score.viclip import ViCLIP

# Kind → its repository or file on the hub, "" where a file is fetched by hand.
KINDS = {
    "dino": "facebook/dino-vitb16",
    "clip": "openai/clip-vit-base-patch32",
    "viclip": "OpenGVLab/VBench_Used_Models/ViClip-InternVid-10M-FLT.pth",
    "detector": "PekingU/rtdetr_v2_r50vd",
    "sam": "facebook/sam-vit-huge",
    "dinov2": "facebook/dinov2-base",
    "clip-large": "openai/clip-vit-large-patch14",
    "aesthetic": "",
    "raft": "",
}
_BY_HAND = {
    "aesthetic": "sa_0_4_vit_l_14_linear.pth of github.com/LAION-AI/aesthetic-predictor",
    "raft": "torchvision's raft_large_C_T_SKHT_V2-ff5fadd5.pth",
}
_FILE_KINDS = ("viclip", "aesthetic", "raft")  # of one file
_ENDINGS = (".safetensors", ".pth", ".pt", ".bin")
_SETTINGS = (".json", ".txt")  # beside a network's weights

# Figures → the kinds that they need.
NEEDS = {
    ("intra_subject",): ("dino",),
    ("intra_background",): ("clip",),
    ("inter_semantic", "text_alignment"): ("viclip", "clip"),
    ("inter_subject", "inter_background"): ("detector", "sam", "dinov2"),
    ("aesthetic",): ("clip-large", "aesthetic"),
    ("dynamic_degree",): ("raft",),
}

Found = dict[str, pathlib.Path]


class Lack(NamedTuple):
    """Figures that are not scored, and the kinds of weights that they lack."""

    figures: tuple[str, ...]
    kinds: tuple[str, ...]

    def __str__(self) -> str:
        wanted = [f"{kind} ({KINDS[kind] or _BY_HAND[kind]})" for kind in self.kinds]
        return f"not scored: {', '.join(self.figures)}: no weights {', '.join(wanted)}"


def find_weights(places: Sequence[str]) -> Found:
    """Kind → its folder or file. What is named by KIND= is fetched or looked up now.

    Raises InputError for a place that is not there, and for a kind that there is not.
    """
    found: Found = {}
    for place in places:
        kind, equals, where = place.partition("=")
        if equals and kind not in KINDS:
            raise InputError(f"--weights {place}: there is no kind {kind}, but {', '.join(KINDS)}")
        if equals:
            found[kind] = _place_of(kind, where)
        elif place == HUB_PREFIX:
            for kind, repository in KINDS.items():
                if repository:
                    found[kind] = _fetched(kind, HUB_PREFIX + repository)
        else:
            found |= _in_folder(pathlib.Path(place))
    return found


def _place_of(kind: str, where: str) -> pathlib.Path:
    if where.startswith(HUB_PREFIX):
        return _fetched(kind, where)
    path = pathlib.Path(where)
    if not path.exists():
        raise InputError(f"--weights {kind}={where} is not there")
    return _file_in(path) if kind in _FILE_KINDS else path


def _in_folder(folder: pathlib.Path) -> Found:
    """What a folder has, by the names of its folders and files."""
    if not folder.is_dir():
        raise InputError(f"--weights {folder} is not a folder; one has {', '.join(KINDS)} in it")
    found = {}
    for kind in KINDS:
        candidates = [folder / kind]
        if kind in _FILE_KINDS:
            candidates += [folder / f"{kind}{ending}" for ending in _ENDINGS]
        for path in candidates:
            if path.exists():
                found[kind] = _place_of(kind, str(path))
                break
    if not found:
        raise InputError(f"--weights {folder} has none of {', '.join(KINDS)} in it")
    return found


def _file_in(path: pathlib.Path) -> pathlib.Path:
    """The file of weights, or the only one of a folder."""
    if path.is_file():
        return path
    files = [file for file in sorted(path.iterdir()) if file.suffix in _ENDINGS]
    if len(files) != 1:
        raise InputError(f"{path} must have one file of weights, but has {len(files)}: name it")
    return files[0]


def _fetched(kind: str, text: str) -> pathlib.Path:
    """A repository's weights and settings, in the hub's cache; not those of folders in it."""
    repository = open_repository(read_hub_name(text))
    place = repository.name.place
    files = []
    for name in repository.files:
        if name.startswith(place) and "/" not in name.removeprefix(place).strip("/"):
            files.append(name)
    # Of several copies the safe one: the endings begin with it.
    chosen: list[str] = []
    for ending in _ENDINGS:
        chosen = chosen or [name for name in files if name.endswith(ending)]
    if not chosen:
        raise InputError(f"{text} has no weights for {kind}")
    if kind in _FILE_KINDS:
        snapshot = fetch(repository, chosen[:1])
        return snapshot.folder / chosen[0]
    settings = [name for name in files if name.endswith(_SETTINGS)]
    return fetch(repository, chosen + settings).folder / place


def lacking(found: Found) -> list[Lack]:
    """What is not scored with these weights."""
    lacks = []
    for figures, kinds in NEEDS.items():
        missing = tuple(kind for kind in kinds if kind not in found)
        if missing:
            lacks.append(Lack(figures, missing))
    return lacks


def load_judges(found: Found, detector: str) -> Judges:
    """All metrics that have their weights, and those that need none.

    Raises InputError for weights of another network.
    """
    judges = plain_metrics(detector)
    if not found:
        return judges
    check_torch()
    frames: list[Callable[[OpenFilm], FrameMetric]] = [*judges.frames]
    shots: list[ShotMetric] = [*judges.shots]
    if "dino" in found:
        subject = FrameConsistency("intra_subject", dino_encoder(found["dino"]))
        frames.append(functools.partial(_same_for_all, subject))
    if "clip" in found:
        background = FrameConsistency("intra_background", clip_encoder(found["clip"]))
        frames.append(functools.partial(_same_for_all, background))
    if _has(found, "aesthetic"):
        looks = Aesthetic(clip_encoder(found["clip-large"]), found["aesthetic"])
        frames.append(functools.partial(_same_for_all, looks))
    if "raft" in found:
        flow = raft_flow(found["raft"])
        frames.append(lambda opened: DynamicDegree("dynamic_degree", flow, opened.fps))
    if _has(found, "inter_semantic", "text_alignment"):
        shots.append(Semantic(ViCLIP(found["viclip"], found["clip"])))
    if _has(found, "inter_subject", "inter_background"):
        detect = transformers_detector(found["detector"])
        encode = dinov2_encoder(found["dinov2"])
        shots.append(Subjects(detect, sam_cutter(found["sam"]), encode))
    return Judges(detector, frames, shots)


def _same_for_all(metric: FrameMetric, opened: OpenFilm) -> FrameMetric:
    """A metric that keeps nothing of a film."""
    return metric


def _has(found: Mapping[str, pathlib.Path], *figures: str) -> bool:
    return all(kind in found for kind in NEEDS[figures])


def described_weights(found: Found) -> dict[str, str]:
    """For the report: what each kind was read from, by its commit on the hub where it has one."""
    return {kind: hub_origin(path / "x") or str(path) for kind, path in found.items()}
