"""Encoders of single pictures, by the user's weights: DINO, CLIP, DINOv2.

Caron et al., arXiv:2104.14294 (DINO); Radford et al., arXiv:2103.00020 (CLIP); Oquab et al.,
arXiv:2304.07193 (DINOv2). The networks are transformers'; the pictures are prepared as VBench does.
"""

import pathlib

import numpy as np

from shotstream_jax.core.typing import UInt8
from shotstream_jax.score.consistency import PictureEncoder, unit
from shotstream_jax.score.torch_io import (
    CLIP_DEVIATION,
    CLIP_MEAN,
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    PictureForm,
    as_seen,
    load_transformer,
)


def dino_encoder(folder: pathlib.Path) -> PictureEncoder:
    """The class token of DINO's last layer, of whole pictures. folder: a ViTModel."""
    import torch

    model = load_transformer("ViTModel", folder, add_pooling_layer=False)
    form = PictureForm(
        model.config.image_size, "bilinear", False, IMAGENET_MEAN, IMAGENET_DEVIATION
    )

    def encode(pictures: UInt8[np.ndarray, "n y x 3"]) -> np.ndarray:
        """Unit features, [n, d]."""
        with torch.no_grad():
            x = as_seen(pictures, form)
            tokens = model(pixel_values=x, interpolate_pos_encoding=True).last_hidden_state
            return unit(tokens[:, 0].float().cpu().numpy())

    return encode


def clip_encoder(folder: pathlib.Path) -> PictureEncoder:
    """CLIP's features of the middle of pictures. folder: a whole CLIPModel."""
    import torch

    model = load_transformer("CLIPModel", folder)
    side = model.config.vision_config.image_size
    form = PictureForm(side, "bicubic", True, CLIP_MEAN, CLIP_DEVIATION)

    def encode(pictures: UInt8[np.ndarray, "n y x 3"]) -> np.ndarray:
        """Unit features, [n, d]."""
        with torch.no_grad():
            seen = model.vision_model(pixel_values=as_seen(pictures, form)).pooler_output
            features = model.visual_projection(seen)
            return unit(features.float().cpu().numpy())

    return encode


def dinov2_encoder(folder: pathlib.Path) -> PictureEncoder:
    """The class token of DINOv2's last layer, of the middle of pictures. folder: a Dinov2Model."""
    import torch

    model = load_transformer("Dinov2Model", folder)
    side = 16 * model.config.patch_size  # 224 for its patches of 14
    form = PictureForm(side, "bicubic", True, IMAGENET_MEAN, IMAGENET_DEVIATION)

    def encode(pictures: UInt8[np.ndarray, "n y x 3"]) -> np.ndarray:
        """Unit features, [n, d]."""
        with torch.no_grad():
            tokens = model(pixel_values=as_seen(pictures, form)).last_hidden_state
            return unit(tokens[:, 0].float().cpu().numpy())

    return encode
