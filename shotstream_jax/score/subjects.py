"""Likeness of the subjects of shots, and of what is around them.

Of each shot its middle frame is looked at. A detector finds things with p ≥ 0.5, of which the one
with the largest box is the subject; SAM (Kirillov et al., arXiv:2304.02643) cuts it out.

    subject      DINOv2's features of the box, grey where the subject is not
    background   DINOv2's features of the frame, grey where the subject is

Figures are the cosines of all pairs of shots. The paper takes YOLOv11, whose licence (AGPL) this
package does not want; any detector of transformers is taken in its place, so figures are not
comparable to the digit. How it chooses keyframes and subjects it does not say.
"""

import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from shotstream_jax.core.typing import Bool, Float, UInt8
from shotstream_jax.score.consistency import PictureEncoder, between_shots
from shotstream_jax.score.figures import FilmFigures, shot_frames
from shotstream_jax.score.films import OpenFilm, ShotList
from shotstream_jax.score.torch_io import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    device,
    load_transformer,
    one_line,
)

_LEAST_PROBABILITY = 0.5
_GREY = 127


class Things(NamedTuple):
    """What a detector found. boxes: left, top, right, bottom in pixels. scores: how likely."""

    boxes: Float[np.ndarray, "n 4"]
    scores: Float[np.ndarray, "n"]


Detector = Callable[[UInt8[np.ndarray, "y x 3"]], Things]
# A picture and a box in it → where the thing in the box is.
Cutter = Callable[[UInt8[np.ndarray, "y x 3"], np.ndarray], Bool[np.ndarray, "y x"]]


class Subjects:
    """Likeness of subjects and of backgrounds; as a ShotMetric."""

    def __init__(self, detector: Detector, cutter: Cutter, encoder: PictureEncoder) -> None:
        self._detector = detector
        self._cutter = cutter
        self._encoder = encoder

    def judge_film(self, opened: OpenFilm, found: ShotList, asked: ShotList) -> FilmFigures:
        """Cosines of all pairs of shots that have a subject; backgrounds of all pairs."""
        subjects = []
        backgrounds = []
        for (picture,) in shot_frames(opened, found, 1):
            subject, background = self._halves(picture)
            backgrounds.append(self._encoder(background[None])[0])
            if subject is not None:
                subjects.append(self._encoder(subject[None])[0])
        figures = {"inter_background": between_shots(np.stack(backgrounds))}
        if subjects:
            figures["inter_subject"] = between_shots(np.stack(subjects))
        return figures

    def _halves(self, picture: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        """The subject in its box, None if nothing was found, and the picture without it."""
        things = self._detector(picture)
        boxes = things.boxes[things.scores >= _LEAST_PROBABILITY]
        if not len(boxes):
            return None, picture
        # The largest box, at least a pixel of it, inside of the picture.
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        box = boxes[int(np.argmax(areas))]
        height, width = picture.shape[:2]
        left, top = np.floor(np.clip(box[:2], 0, [width - 1, height - 1])).astype(int)
        right, bottom = np.ceil(np.clip(box[2:], [left + 1, top + 1], [width, height])).astype(int)
        mask = self._cutter(picture, box)[..., None]
        subject = np.where(mask, picture, _GREY)[top:bottom, left:right]
        background = np.where(mask, _GREY, picture)
        return subject.astype(np.uint8), background.astype(np.uint8)


def transformers_detector(folder: pathlib.Path) -> Detector:
    """Any detector of transformers (RT-DETR, DETR, YOLOS, …) with its image processor."""
    import torch
    import transformers

    model = load_transformer("AutoModelForObjectDetection", folder)
    with one_line(folder):
        processor = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)

    def detect(picture: UInt8[np.ndarray, "y x 3"]) -> Things:
        """What is likely enough."""
        inputs = processor(images=picture, return_tensors="pt").to(device())
        with torch.no_grad():
            outputs = model(**inputs)
        (found,) = processor.post_process_object_detection(
            outputs, threshold=_LEAST_PROBABILITY, target_sizes=[picture.shape[:2]]
        )
        return Things(found["boxes"].cpu().numpy(), found["scores"].cpu().numpy())

    return detect


def sam_cutter(folder: pathlib.Path) -> Cutter:
    """SAM, asked with a box. folder: a SamModel."""
    import torch

    model = load_transformer("SamModel", folder)
    side = model.config.vision_config.image_size
    mean = torch.tensor(IMAGENET_MEAN, device=device())[None, :, None, None]
    deviation = torch.tensor(IMAGENET_DEVIATION, device=device())[None, :, None, None]

    def cut(picture: UInt8[np.ndarray, "y x 3"], box: np.ndarray) -> Bool[np.ndarray, "y x"]:
        """Where the thing in the box is."""
        # 1. The longer side is scaled, zeros fill the square.
        height, width = picture.shape[:2]
        scale = side / max(height, width)
        size = (int(height * scale + 0.5), int(width * scale + 0.5))
        stretch = np.array([size[1] / width, size[0] / height] * 2)  # of left, top, right, bottom
        x = torch.from_numpy(picture).to(device()).permute(2, 0, 1)[None].float()
        x = torch.nn.functional.interpolate(x, size, mode="bilinear", antialias=True)
        x = (x.round().clamp(0, 255) / 255 - mean) / deviation
        x = torch.nn.functional.pad(x, (0, side - size[1], 0, side - size[0]))
        boxes = torch.tensor(box * stretch, dtype=torch.float32, device=device())[None, None]
        # 2. One mask, [1, 1, 1, m, m], back at the picture's size.
        with torch.no_grad():
            mask = model(pixel_values=x, input_boxes=boxes, multimask_output=False).pred_masks[0]
            mask = torch.nn.functional.interpolate(mask, (side, side), mode="bilinear")
            mask = mask[..., : size[0], : size[1]]
            mask = torch.nn.functional.interpolate(mask, (height, width), mode="bilinear")
        return (mask[0, 0] > 0).cpu().numpy()

    return cut
