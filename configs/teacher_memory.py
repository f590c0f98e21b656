"""Stage 1 goes on, for the miniature only: the teacher learns what memory alone can tell, the colours of hats.

    python -m shotstream_jax.train --config configs/teacher_memory.py:tiny --workdir out/tiny/teacher_memory

What the paper's weight of noise levels leaves out at high noise counts here (time_weight), the text encoder stays as it
is, and so the data are those of the later stages.
"""

from ml_collections import ConfigDict

from configs.teacher import TINY
from configs.teacher import get_config as teacher


def get_config(preset: str = TINY) -> ConfigDict:
    if preset != TINY:
        raise ValueError(f"no preset is called {preset!r}; there is {TINY}")
    config = teacher(preset)
    config.start.checkpoint = "out/tiny/teacher/model"
    config.start.scratch = False
    config.data.path = "out/tiny/data"
    config.text_lr = 0.0
    config.time_weight = False
    config.optim.lr = 2e-3
    config.optim.warmup_steps = 100
    config.optim.decay_steps = config.run.steps = 8000
    return config
