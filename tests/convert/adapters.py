"""Adapters' files in every public naming, made by formulas of the tests' own."""

import dataclasses

import numpy as np

from shotstream_jax.convert.tables import dit_table
from shotstream_jax.dit.config import DiTConfig

DIT = DiTConfig(dim=8, ffn_dim=12, heads=2, layers=2, freq_dim=6, text_dim=10, channels=4)
SHAPES = dit_table(DIT).shapes()
# Layers that have a matrix or a kernel, plain → as diffusers names them.
LAYERS = {
    "patch_embedding": "patch_embedding",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_projection.1": "condition_embedder.time_proj",
    "blocks.0.self_attn.q": "blocks.0.attn1.to_q",
    "blocks.1.self_attn.o": "blocks.1.attn1.to_out.0",
    "blocks.1.cross_attn.k": "blocks.1.attn2.to_k",
    "blocks.0.ffn.0": "blocks.0.ffn.net.0.proj",
    "blocks.1.ffn.2": "blocks.1.ffn.net.2",
    "head.head": "proj_out",
}


def flat(layer: str) -> str:
    return layer.replace(".", "_")


# Prefix and form of the layer's name; {plain} and {theirs} have dots, {flat}, {flat_theirs} none.
FORMS = (
    "{plain}",
    "base_model.model.{plain}",
    "base_model.model.model.{plain}",
    "diffusion_model.{plain}",
    "model.diffusion_model.{plain}",
    "pipe.dit.{plain}",
    "transformer.{theirs}",
    "base_model.model.{theirs}",
    "diffusion_model.{theirs}",
    "lora_unet_{flat}",
    "lora_unet__{flat}",
    "lora_unet_{flat_theirs}",
    "lora_transformer_{flat_theirs}",
    "lycoris_{flat}",
    "base_model.model._fsdp_wrapped_module.{plain}",
    "_orig_mod.module.{plain}",
)
# Endings of A and of B.
ENDINGS = (
    (".lora_A.weight", ".lora_B.weight"),
    (".lora_A.default.weight", ".lora_B.default.weight"),
    (".lora_A.my_style.weight", ".lora_B.my_style.weight"),
    (".lora_A", ".lora_B"),
    (".lora_down.weight", ".lora_up.weight"),
    ("_lora.down.weight", "_lora.up.weight"),
    (".lora.down.weight", ".lora.up.weight"),
    (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
)


@dataclasses.dataclass(frozen=True)
class Factors:
    """One layer's, and the alpha that belongs to them (None: a factor of 1)."""

    down: np.ndarray
    up: np.ndarray
    alpha: float | None

    def product(self, shape: tuple[int, ...]) -> np.ndarray:
        """(alpha/rank)·B·A in float64, by a sum over the rank."""
        total = np.zeros(shape)
        rank = len(self.down)
        for r in range(rank):
            row = self.down[r].astype(np.float64).reshape(1, *shape[1:])
            column = self.up[:, r].astype(np.float64).reshape(-1, *[1] * (len(shape) - 1))
            total += column * row
        return total * (1.0 if self.alpha is None else self.alpha / rank)


def random_factors(rng, layer: str, rank: int, alpha: float | None = None) -> Factors:
    """Factors of a layer's weight; those of a kernel are kernels too."""
    outputs, *inputs = SHAPES[f"{layer}.weight"]
    down = rng.standard_normal((rank, *inputs)).astype(np.float32)
    up_shape = (outputs, rank, *[1] * (len(inputs) - 1))
    up = rng.standard_normal(up_shape).astype(np.float32)
    return Factors(down, up, alpha)


def layer_name(form: str, layer: str) -> str:
    """A layer's name in one of the FORMS."""
    theirs = LAYERS[layer]
    return form.format(plain=layer, theirs=theirs, flat=flat(layer), flat_theirs=flat(theirs))


def base_state(rng, dtype=np.float32) -> dict[str, np.ndarray]:
    """A transformer's weights under plain names."""
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in SHAPES.items()}
