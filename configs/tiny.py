"""Stream a story with the tiny model: 32×48 pixels, in real time on a laptop's processor.

    shotstream generate --config tiny --story examples/tiny/story.json --out out/story.mp4

Trained on the drawn world (docs/tiny.md), so prompts must be in its words (docs/world.md). Any
field can be changed on the command line, e.g. --config.quantize=int8
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The fields of `shotstream generate`."""
    config = ConfigDict()
    config.checkpoint = "tiny"  # a shipped model's name, or the folder of a converted checkpoint
    # Of the matmuls: float32, bfloat16, or auto: bfloat16 on a GPU, float32 elsewhere.
    config.dtype = "auto"
    # int8 or fp8: 8-bit matmuls in the transformer's blocks (docs/performance.md, Precision)
    config.quantize = "none"
    # What makes the frames that are shown: wan, or taehv, lighttae, lightvae of the checkpoint
    # (docs/performance.md, Smaller decoders)
    config.decoder = "wan"
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
    config.video.height = 32
    config.video.width = 48
    # Latent frames a shot, a multiple of 3; 6 make 11 pixel frames, 1.4 seconds.
    config.video.shot_frames = 6
    config.video.fps = 8
    config.mesh = one_device()
    return config


def one_device() -> ConfigDict:
    """One stream over the first devices; an axis of -1 takes all that the other axes leave."""
    config = ConfigDict()
    # Stories side by side (the command line has one).
    config.data = 1
    # Parameters in slices, gathered in every pass: only where they do not fit otherwise.
    config.fsdp = 1
    # Tokens of a frame; the autoencoder's rows are split over sequence × tensor.
    config.sequence = 1
    # Heads and widths; the caches too are split by heads.
    config.tensor = 1
    return config
