"""Stream a story with the paper's model size, 480×832 at 16 frames/s, on one large GPU or a TPU.

    python -m shotstream_jax.generate --config configs/wan_1_3b.py --checkpoint DIR --story STORY.json --out story.mp4

On four devices: … --config.mesh.sequence=2 --config.mesh.tensor=2

The checkpoint is a folder of converted weights (see `shotstream_jax/checkpoint/load.py`); none are shipped.
"""

from ml_collections import ConfigDict

from configs.tiny import get_config as tiny


def get_config() -> ConfigDict:
    config = tiny()
    config.checkpoint = "wan-1.3b"
    config.dtype = "bfloat16"
    config.video.height = 480
    config.video.width = 832
    config.video.shot_frames = 21
    config.video.fps = 16
    return config
