"""Stage 4: distribution matching between shots. The student walks whole stories on a history of its own making.

    python -m shotstream_jax.train --config configs/dmd_inter.py:wan-1.3b --workdir runs/dmd_inter

wan-1.3b, the paper's: 1 k steps of 64, a step a shot, stories of 5 shots; adapters of rank 256 on the student and on a
new fake score. Only the clips' captions are used. tiny: on the drawn world.
"""

from ml_collections import ConfigDict

from configs.dmd_intra import get_config as dmd_intra
from configs.teacher import WAN, trained


def get_config(preset: str = "tiny") -> ConfigDict:
    wan, config = preset == WAN, dmd_intra(preset)
    config.stage = "dmd_inter"
    config.start.checkpoint = "runs/dmd_intra/model" if wan else "out/tiny/dmd_intra/model"
    config.shots = 5  # of a story; clips with fewer are skipped
    config.run.steps = 1000 if wan else 600
    config.run.batch = 64 if wan else 8
    config.trained = trained("lora", rank=256 if wan else 16)
    config.fake = trained("lora", rank=256 if wan else 16)
    return config
