"""Stream a story with the paper's model size, 480×832 at 16 frames/s, on one large GPU or a TPU.

    shotstream generate --config wan_1_3b --checkpoint DIR --story STORY.json --out story.mp4

On four devices: … --config.mesh.sequence=2 --config.mesh.tensor=2

The checkpoint is a folder of converted weights (docs/checkpoints.md); none are shipped.
"""

from ml_collections import ConfigDict

from shotstream_jax.configs.tiny import one_device


def get_config() -> ConfigDict:
    """The fields of `shotstream generate`."""
    config = ConfigDict()
    config.checkpoint = "wan-1.3b"
    config.dtype = "bfloat16"  # of the matmuls: float32 or bfloat16
    config.quantize = "none"  # int8 or fp8: 8-bit matmuls in the transformer's blocks
    config.decoder = "wan"  # taehv, lighttae, lightvae: a smaller decoder for the frames shown
    config.history = "exact"  # shown: memory is made of the frames that a smaller decoder shows
    # What keeps memory small (docs/performance.md, Memory; shotstream plan)
    config.cache_dtype = "same"  # int8, fp8: keys and values of frames in 8 bits
    config.decode_frames = 0  # latent frames decoded at a time, 0: a whole chunk
    config.text_memory = "device"  # host: the text encoder's weights are sent for each prompt
    config.text_dtype = "same"  # int8: its matrices in 8 bits
    # Which earlier shots a shot sees: paper, the latest; caption or keys, those most like it
    # (docs/stories.md)
    config.context_rule = "paper"
    config.video = ConfigDict()
    config.video.height = 480
    config.video.width = 832
    config.video.shot_frames = 21  # latent frames a shot, a multiple of 3; 21 make 81 pixel frames
    config.video.fps = 16
    config.mesh = one_device()
    return config
