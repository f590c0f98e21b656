"""What the figures are: names, what is better, where they come from."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

from shotstream_jax.core.typing import UInt8
from shotstream_jax.score.films import OpenFilm, ShotList

# Name of a figure → its values of one film: one a shot, one a pair of shots, or a single one.
FilmFigures = dict[str, np.ndarray]


class Figure(NamedTuple):
    """title: for people. better: what is. source: the definition, and how ours differs."""

    title: str
    better: str
    source: str


class FrameMetric(Protocol):
    """A metric that sees all frames of a film once, in order."""

    def encode(self, pictures: UInt8[np.ndarray, "n y x 3"]) -> np.ndarray:
        """What is kept of each of the next frames, [n, …]."""
        ...

    def judge(self, kept: np.ndarray, found: ShotList) -> FilmFigures:
        """The figures. kept: of all frames [frames, …]. found: the shots that were detected."""
        ...


class ShotMetric(Protocol):
    """A metric that looks at some frames of each shot."""

    def judge_film(self, opened: OpenFilm, found: ShotList, asked: ShotList) -> FilmFigures:
        """The figures. found: the shots that were detected. asked: those of the script."""
        ...


HIGHER = "higher"
EITHER = "neither"

_VBENCH = "VBench (arXiv:2311.17982)"

# In the order of the paper's Table 1; then those that need no weights.
FIGURES = {
    "intra_subject": Figure(
        "intra-shot subject", HIGHER, f"{_VBENCH} subject_consistency: DINO ViT-B/16, in each shot"
    ),
    "intra_background": Figure(
        "intra-shot background",
        HIGHER,
        f"{_VBENCH} background_consistency: CLIP ViT-B/32, in each shot",
    ),
    "inter_semantic": Figure(
        "inter-shot semantic", HIGHER, "cosine of ViCLIP's features of all pairs of shots"
    ),
    "inter_subject": Figure(
        "inter-shot subject",
        HIGHER,
        "DINOv2 of what a detector and SAM cut out; the paper's detector is YOLOv11",
    ),
    "inter_background": Figure(
        "inter-shot background", HIGHER, "DINOv2 of keyframes without what was cut out"
    ),
    "sca": Figure(
        "transition control (SCA)",
        HIGHER,
        "HoloCine (arXiv:2510.20822), S1 and S2; a missed or extra cut costs a shot's mean length",
    ),
    "text_alignment": Figure(
        "text alignment", HIGHER, "cosine of ViCLIP's features of each shot and its caption"
    ),
    "aesthetic": Figure(
        "aesthetic quality",
        HIGHER,
        f"{_VBENCH} aesthetic_quality: LAION's linear predictor on CLIP ViT-L/14, / 10",
    ),
    "dynamic_degree": Figure(
        "dynamic degree, RAFT",
        EITHER,
        f"{_VBENCH} dynamic_degree, per cent of the shots; RAFT is torchvision's",
    ),
    "dynamic_degree_dis": Figure(
        "dynamic degree, DIS",
        EITHER,
        f"the rule of {_VBENCH} dynamic_degree on OpenCV's DIS flow, which needs no network",
    ),
    "cuts_found": Figure("cuts found", EITHER, "by the detector"),
    "cuts_asked": Figure("cuts asked for", EITHER, "by the script"),
    "sharpness": Figure("sharpness", EITHER, "mean square of the Laplacian of grey, at 180 rows"),
    "repeated": Figure("repeated frames", EITHER, "share of frames within 0.5 of the one before"),
    "motion": Figure(
        "motion", EITHER, f"mean change of a pixel; 1 − {_VBENCH} temporal_flickering"
    ),
    "histogram_within": Figure("colours within", EITHER, "overlap, first and last frame of a shot"),
    "histogram_between": Figure(
        "colours between", EITHER, "overlap, middles of neighbouring shots"
    ),
    "ssim_within": Figure("SSIM within", EITHER, "first and last frame of a shot"),
    "ssim_between": Figure("SSIM between", EITHER, "middle frames of neighbouring shots"),
}


def shot_frames(
    opened: OpenFilm, shots: ShotList, count: int
) -> Iterator[UInt8[np.ndarray, "count y x 3"]]:
    """Of each shot the middles of `count` equal parts; of short ones some frames repeatedly."""
    for first, stop in shots:
        places = first + ((np.arange(count) + 0.5) * (stop - first) / count).astype(np.int64)
        wanted, places_of = np.unique(places, return_inverse=True)
        yield np.stack(list(opened.pick(wanted.tolist())))[places_of]
