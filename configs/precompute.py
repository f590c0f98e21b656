"""Encode a table of clips for training, once: latents, context frames, prompts (data/records.py has the format).

    python -m shotstream_jax.precompute --csv examples/film/clips.csv --out out/film
    python -m shotstream_jax.precompute --config configs/precompute.py:wan-1.3b --config.checkpoint=DIR --csv … --out …

The text after the colon names a model size: tiny (the default, a laptop's processor) or wan-1.3b (480×832, one GPU or
TPU a part; DIR is a folder of converted weights, of which only the autoencoder and the text encoder are read).
"""

from ml_collections import ConfigDict

from configs import tiny, wan_1_3b

PARENTS = {"tiny": tiny, "wan-1.3b": wan_1_3b}


def get_config(preset: str = "tiny") -> ConfigDict:
    if preset not in PARENTS:
        raise ValueError(f"no preset is called {preset!r}; there are {', '.join(PARENTS)}")
    # From the parent: checkpoint; dtype (of the text encoder; the autoencoder runs in float32); video. There,
    # shot_frames is the most that a training target has: longer shots are strided, then cut. fps changes no frame.
    config = PARENTS[preset].get_config()
    del config.quantize, config.mesh  # the transformer's
    config.context = 6  # frames of earlier shots that a shot is given
    config.negative_prompt = (
        "overexposed, static picture, no motion, blurred, out of focus, subtitles, watermark, logo, low quality, "
        "compression artefacts, blocky, deformed face, deformed hands, missing or additional fingers, malformed limbs, "
        "crowded background, people walking backwards"
    )
    if (
        preset == "tiny"
    ):  # has seen only the drawn world's words, or none: zeros in place of a prompt
        config.negative_prompt = ""
    return config
