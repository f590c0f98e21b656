"""A checkpoint → a model that can stream, straight onto one device or a mesh."""

import pathlib

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from shotstream_jax.checkpoint.checkpoint import Checkpoint, open_checkpoint
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import param_shardings
from shotstream_jax.model import PARTS, Model, Params
from shotstream_jax.nn.quantize import check_quantize, quantize_blocks
from shotstream_jax.presets import HISTORIES, OWN_DECODER, OWN_HISTORY

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def load(
    checkpoint: str | pathlib.Path | Checkpoint = "tiny",
    dtype: str = "float32",
    mesh: Mesh | None = None,
    vae_device: jax.Device | None = None,
    quantize: str = "none",
    decoder: str = OWN_DECODER,
    history: str = OWN_HISTORY,
) -> Model:
    """A model from a checkpoint folder, or by a shipped model's name.

    checkpoint: a folder, "tiny", "tiny-teacher" (for training), or what `open_checkpoint` gives.
    dtype: the type of its matmuls. mesh: where the parameters go, by the rules of core/sharding
    (`part_mesh` makes one); each device reads its own slices only, and the stream runs on all of
    them. vae_device: the autoencoder's own, so that it decodes while the next chunk is made;
    without it the autoencoder is where the rest is. quantize: none, int8 or fp8, for the Linears of
    the transformer's blocks (nn/quantize); their weights are kept in 8 bits, and the activations'
    scales are those of `shotstream convert quantize`, if the checkpoint has them. decoder: what
    makes the frames that are shown: wan, the autoencoder's own, or taehv, lighttae or lightvae,
    which the checkpoint must have. history: exact: context frames are the autoencoder's own, so
    that memory does not depend on the decoder; shown: they are those that are shown, and nothing
    is decoded twice. Raises InputError if there is no such checkpoint, a part is missing, or an
    option is not known.
    """
    use_persistent_cache()
    # Whatever can be refused is refused before any weights are read.
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is not known; choose one of {', '.join(DTYPES)}")
    if history not in HISTORIES:
        raise InputError(f"history {history!r} is not known; choose one of {', '.join(HISTORIES)}")
    device = mesh.devices.flat[0] if mesh else jax.devices()[0]
    check_quantize(quantize, device)
    opened = open_checkpoint(checkpoint)
    if opened.missing:
        missing = ", ".join(opened.missing)
        raise InputError(f"{opened.name} lacks {missing}: import it with all three parts to stream")
    shown = opened.decoder(decoder)
    tokenizer = opened.tokenizer()

    # Each part goes straight to where it is used, in the types that it is used in.
    params: Params = {}
    for part in PARTS:
        params[part] = opened.load_params(part, DTYPES[dtype], mesh)
    if shown is not None:
        params["decoder"] = opened.load_params(decoder, DTYPES[dtype], mesh)
    params["dit"] = quantize_blocks(params["dit"], quantize, opened.largest_inputs)
    if mesh:
        # Quantized weights and their scales have places of their own.
        for part, tree in params.items():
            params[part] = jax.device_put(tree, param_shardings(mesh, part, tree))
    # The autoencoder can have a device of its own, which a smaller decoder shares.
    if vae_device:
        for part in {"vae", "decoder"} & set(params):
            params[part] = jax.device_put(params[part], vae_device)

    # For people: what the reports of a stream name as the model.
    origin = opened.name
    if quantize != "none":
        origin += f"; the transformer's blocks in {quantize}"
    if shown is not None:
        origin += f"; frames by {decoder}, {history} history"
    return Model(opened.preset, params, tokenizer, DTYPES[dtype], origin, shown, history)
