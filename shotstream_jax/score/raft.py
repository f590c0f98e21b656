"""RAFT (Teed and Deng, arXiv:2003.12039), torchvision's, by the user's weights.

VBench takes the authors' raft-things; torchvision's file of the same training has other names of
layers and is what is read here: raft_large_C_T_V1, or the fine-tuned raft_large_C_T_SKHT_V2.
"""

import pathlib

import numpy as np

from shotstream_jax.core.typing import Float, UInt8
from shotstream_jax.score.dynamic import Flow
from shotstream_jax.score.torch_io import device, load_state, one_line

_STEPS = 20  # VBench's number of refinements
_MULTIPLE = 8  # sides must be multiples of this
_LEAST = 128  # and at least this long


def raft_flow(path: pathlib.Path) -> Flow:
    """The flow by RAFT's weights in a file. Raises InputError if it has others."""
    import torch
    from torchvision.models.optical_flow import raft_large

    network = raft_large(weights=None)
    with one_line(path):
        network.load_state_dict(load_state(path))
    network.to(device()).eval()

    def flow(
        before: UInt8[np.ndarray, "y x 3"], after: UInt8[np.ndarray, "y x 3"]
    ) -> Float[np.ndarray, "y x 2"]:
        """The vectors from one picture to the next, in pixels."""
        with torch.no_grad():
            # The last refinement is the best one.
            found = network(_seen(before), _seen(after), num_flow_updates=_STEPS)[-1]
        # What was added at the edges is cut off again.
        height, width = before.shape[:2]
        top, left = _padding(height) // 2, _padding(width) // 2
        inside = found[0, :, top : top + height, left : left + width]
        return inside.permute(1, 2, 0).cpu().numpy()

    return flow


def _padding(side: int) -> int:
    """How many rows or columns are added on both sides together."""
    return max(_LEAST - side, -side % _MULTIPLE)


def _seen(picture: np.ndarray):  # type: ignore[no-untyped-def]  # a tensor of an extra
    """[1, 3, y, x] from −1 to 1, edges repeated until the sides are as long as they must be."""
    import torch

    height, width = picture.shape[:2]
    x = torch.from_numpy(picture).to(device()).permute(2, 0, 1)[None].float() / 127.5 - 1
    rows, columns = _padding(height), _padding(width)
    edges = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
    return torch.nn.functional.pad(x, edges, mode="replicate")
