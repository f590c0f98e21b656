"""Stream a story with the tiny model: 32×48 pixels, for a laptop's processor. Minutes of video in minutes.

    python -m shotstream_jax.generate --config configs/tiny.py --story examples/tiny/story.json --out out/story.mp4

Trained on the drawn world (docs/tiny.md), so prompts must be in its words (docs/world.md). Any field can be changed on
the command line, e.g. --config.video.shot_frames=12
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.checkpoint = "tiny"  # a shipped model's name, or the folder of a converted checkpoint
    config.dtype = "float32"  # of the matmuls: float32 or bfloat16
    config.quantize = "none"  # int8 or fp8: 8-bit matmuls in the transformer's blocks (docs/performance.md, Precision)
    config.video = ConfigDict()
    config.video.height = 32
    config.video.width = 48
    config.video.shot_frames = (
        6  # latent frames a shot, a multiple of 3; 6 make 11 pixel frames, 1.4 seconds
    )
    config.video.fps = 8
    # One stream over many devices, the first ones; -1: all that the other axes leave.
    config.mesh = ConfigDict()
    config.mesh.data = 1  # stories side by side (the command line has one)
    config.mesh.fsdp = (
        1  # parameters in slices, gathered in every pass: only where they do not fit otherwise
    )
    config.mesh.sequence = (
        1  # tokens of a frame; the autoencoder's rows are split over sequence × tensor
    )
    config.mesh.tensor = 1  # heads and widths; the caches too are split by heads
    return config
