"""Adapters that PEFT wrote, and what PEFT itself makes of them: right values for merging.

  python -m tests.convert.make_peft_cases tests/convert/peft_cases.safetensors

It needs PyTorch and PEFT (last made with PEFT 0.18.1, PyTorch 2.13). The file has the base's
tensors under `base/`, and of each case `CASE/adapter/…`, as save_pretrained writes them, and
`CASE/right/…`, what merge_and_unload changed. The header has each case's adapter_config.json.
"""

import json
import pathlib
import sys
import tempfile

import numpy as np
from safetensors.numpy import load_file, save_file

WIDTH, INNER, CHANNELS = 8, 12, 4

CASES = {  # name → settings of a LoraConfig
    "alpha": {"r": 4, "lora_alpha": 8, "target_modules": ["q"]},
    "unequal_sides": {"r": 3, "lora_alpha": 5, "target_modules": ["ffn.0", "ffn.2"]},
    "rslora": {"r": 4, "lora_alpha": 6, "use_rslora": True, "target_modules": ["q", "o"]},
    "alpha_pattern": {
        "r": 4,
        "lora_alpha": 4,
        "target_modules": ["q", "k", "v", "o", "ffn.0"],
        # A part of a name does not match, its end after a dot does, and the first one is taken.
        "alpha_pattern": {"elf_attn.q": 99, "k": 8, "^blocks.0.self_attn.v": 2, "f{2}n.0": 6},
    },
    "rank_pattern": {
        "r": 4,
        "lora_alpha": 4,
        "target_modules": ["q", "k", "v"],
        "rank_pattern": {"self_attn.q": 2, "blocks.0.self_attn.k": 6},
        "alpha_pattern": {"k": 3},
    },
    "rank_pattern_rslora": {
        "r": 4,
        "lora_alpha": 4,
        "use_rslora": True,
        "target_modules": ["q", "k"],
        "rank_pattern": {"q": 2},
    },
    "dora": {"r": 4, "lora_alpha": 6, "use_dora": True, "target_modules": ["q", "ffn.2"]},
    "dora_conv": {"r": 4, "lora_alpha": 6, "use_dora": True, "target_modules": ["patch_embedding"]},
    "conv": {"r": 4, "lora_alpha": 2, "target_modules": ["patch_embedding"]},
    "lora_bias": {"r": 4, "lora_alpha": 6, "lora_bias": True, "target_modules": ["q", "ffn.0"]},
    "bias_all": {"r": 4, "lora_alpha": 4, "bias": "all", "target_modules": ["q"]},
    "bias_lora_only": {"r": 4, "lora_alpha": 4, "bias": "lora_only", "target_modules": ["q"]},
    "modules_to_save": {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["q"],
        "modules_to_save": ["head.head", "norm3"],
    },
    "fan_in_fan_out": {
        "r": 4,
        "lora_alpha": 8,
        "fan_in_fan_out": True,
        "target_modules": ["ffn.0"],
    },
}


def make_cases(folder: pathlib.Path, *, safe_serialization: bool = True) -> dict:
    """Writes every case into a folder of its name; gives the right values, {case: {name: array}}.

    The base's tensors are under the name "base".
    """
    right = {"base": _state(_network())}
    for number, (name, settings) in enumerate(CASES.items()):
        right[name] = _make_case(folder / name, settings, number, safe_serialization)
    return right


def _make_case(folder: pathlib.Path, settings: dict, seed: int, safe_serialization: bool) -> dict:
    """What changes of the base when one adapter, whose values are random, is merged."""
    import peft
    import torch

    network = _network()
    base = _state(network)
    model = peft.get_peft_model(network, peft.LoraConfig(**settings))
    # All that training would move gets values of its own.
    rng = np.random.default_rng(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            values = rng.standard_normal(parameter.shape) + (parameter.ndim == 1)
            parameter.data = torch.tensor(values, dtype=torch.float32)
    model.save_pretrained(str(folder), safe_serialization=safe_serialization)

    # As it is loaded again: what PEFT did not save (biases, with lora_only) is the base's own.
    loaded = peft.PeftModel.from_pretrained(_network(), str(folder))
    merged = _state(loaded.merge_and_unload())
    return {name: merged[name] for name in base if not np.array_equal(merged[name], base[name])}


def _network():
    """A transformer's layers under Wan's plain names, without what connects them."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.self_attn = nn.Module()
            for name in "qkvo":
                setattr(self.self_attn, name, nn.Linear(WIDTH, WIDTH))
            self.norm3 = nn.LayerNorm(WIDTH)
            self.ffn = nn.Sequential(nn.Linear(WIDTH, INNER), nn.GELU(), nn.Linear(INNER, WIDTH))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            kernel = (1, 2, 2)
            self.patch_embedding = nn.Conv3d(CHANNELS, WIDTH, kernel_size=kernel, stride=kernel)
            self.blocks = nn.ModuleList([Block()])
            self.head = nn.Module()
            self.head.head = nn.Linear(WIDTH, WIDTH)

    network = Net()
    rng = np.random.default_rng(99)
    for parameter in network.parameters():
        values = rng.standard_normal(tuple(parameter.shape))
        parameter.data = torch.tensor(values, dtype=torch.float32)
    return network


def _state(network) -> dict[str, np.ndarray]:
    return {name: array.detach().numpy().copy() for name, array in network.state_dict().items()}


def main(out: pathlib.Path) -> None:
    """Records every case in one file."""
    with tempfile.TemporaryDirectory() as made:
        folder = pathlib.Path(made)
        right = make_cases(folder)
        tensors = {f"base/{name}": array for name, array in right.pop("base").items()}
        configs = {}
        for case, changed in right.items():
            adapter = load_file(folder / case / "adapter_model.safetensors")
            tensors |= {f"{case}/adapter/{name}": array for name, array in adapter.items()}
            tensors |= {f"{case}/right/{name}": array for name, array in changed.items()}
            configs[case] = json.dumps(
                json.loads((folder / case / "adapter_config.json").read_text())
            )
    save_file(tensors, out, metadata=configs)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
