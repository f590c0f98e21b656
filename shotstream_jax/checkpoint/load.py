"""A checkpoint → a model that can stream, straight onto one device or a mesh."""

import pathlib

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from shotstream_jax.checkpoint.checkpoint import Checkpoint, open_checkpoint
from shotstream_jax.checkpoint.checksum import fingerprint
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.devices import AMPERE, device_capability
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.gpu_memory import claim_gpu_memory
from shotstream_jax.core.settings import own_settings
from shotstream_jax.core.sharding import param_shardings
from shotstream_jax.core.typing import DType
from shotstream_jax.model import PARTS, Model, Params, check_savings
from shotstream_jax.nn.attention import warn_of_unfit_form
from shotstream_jax.nn.quantize import check_quantize, quantize_blocks
from shotstream_jax.presets import HISTORIES, OWN_DECODER, OWN_HISTORY
from shotstream_jax.text.narrow import narrow_text

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@own_settings()
def load(
    checkpoint: str | pathlib.Path | Checkpoint = "tiny",
    dtype: str = "auto",
    mesh: Mesh | None = None,
    vae_device: jax.Device | None = None,
    quantize: str = "none",
    decoder: str = OWN_DECODER,
    history: str = OWN_HISTORY,
    cache_dtype: str = "same",
    decode_frames: int = 0,
    text_memory: str = "device",
    text_dtype: str = "same",
) -> Model:
    """A model from a checkpoint folder, by a shipped model's name, or from the hub.

    checkpoint: a folder, "tiny", "tiny-teacher" (for training), "hf:owner/name[@revision][/folder]"
    (checkpoint/hub), or what `open_checkpoint` gives.
    dtype: the type of its matmuls; "auto" is bfloat16 on GPUs that have it and float32 elsewhere.
    mesh: where the parameters go, by the rules of core/sharding
    (`part_mesh` makes one); each device reads its own slices only, and the stream runs on all of
    them. vae_device: the autoencoder's own, so that it decodes while the next chunk is made;
    without it the autoencoder is where the rest is. quantize: none, int8 or fp8, for the Linears of
    the transformer's blocks (nn/quantize); their weights are kept in 8 bits, and the activations'
    scales are those of `shotstream convert quantize`, if the checkpoint has them. decoder: what
    makes the frames that are shown: wan, the autoencoder's own, or taehv, lighttae or lightvae,
    which the checkpoint must have. history: exact: context frames are the autoencoder's own, so
    that memory does not depend on the decoder; shown: they are those that are shown, and nothing
    is decoded twice.

    What keeps memory small (docs/performance.md, Memory). cache_dtype: same, int8 or fp8, for the
    keys and values of frames. decode_frames: latent frames that are decoded at a time, 0 for a
    whole chunk. text_memory: device or host, where the text encoder's weights are. text_dtype: same
    or int8, for its matrices.

    Raises InputError if there is no such checkpoint, a part is missing, or an option is not known.
    """
    claim_gpu_memory()
    use_persistent_cache()
    # Whatever can be refused is refused before any weights are read.
    device = mesh.devices.flat[0] if mesh else jax.devices()[0]
    compute_dtype = DTYPES[dtype_name(dtype, device_capability(device))]
    check_quantize(quantize, device)
    opened = open_checkpoint(checkpoint)
    check_savings(opened.preset, cache_dtype, decode_frames, text_memory, text_dtype)
    _check_choices(opened, history, mesh, text_memory, text_dtype)
    warn_of_unfit_form(opened.preset.dit.dim // opened.preset.dit.heads, compute_dtype)
    shown = opened.decoder(decoder)
    tokenizer = opened.tokenizer()

    # Weights go straight to where they are used, in the types that they are used in.
    params = _read_parts(opened, compute_dtype, mesh, text_memory, text_dtype)
    if shown is not None:
        params["decoder"] = opened.load_params(decoder, compute_dtype, mesh)
    params["dit"] = quantize_blocks(params["dit"], quantize, opened.largest_inputs)
    if mesh:
        # Quantized weights and their scales have places of their own.
        for part, tree in params.items():
            params[part] = jax.device_put(tree, param_shardings(mesh, part, tree))
    # The autoencoder can have a device of its own, which a smaller decoder shares.
    if vae_device:
        for part in {"vae", "decoder"} & set(params):
            params[part] = jax.device_put(params[part], vae_device)
    shown_by = f"{decoder}, {history} history" if shown else "same"
    return Model(
        opened.preset,
        params,
        tokenizer,
        compute_dtype,
        _origin(opened.name, quantize, shown_by, text_dtype, cache_dtype),
        shown,
        history,
        cache_dtype=cache_dtype,
        decode_frames=decode_frames,
        fingerprint=fingerprint(opened),
    )


def _read_parts(
    opened: Checkpoint, dtype: DType, mesh: Mesh | None, text_memory: str, text_dtype: str
) -> Params:
    """The parameters of the three parts."""
    params: Params = {}
    for part in PARTS:
        if part == "text" and (text_memory, text_dtype) != ("device", "same"):
            params[part] = _special_text(opened, dtype, text_memory, text_dtype)
        else:
            params[part] = opened.load_params(part, dtype, mesh)
    return params


def _origin(name: str, quantize: str, shown_by: str, text_dtype: str, cache_dtype: str) -> str:
    """What the reports of a stream name as the model, for people: all that is not as usual."""
    words = [name]
    if quantize != "none":
        words.append(f"the transformer's blocks in {quantize}")
    if shown_by != "same":
        words.append(f"frames by {shown_by}")
    if text_dtype != "same":
        words.append(f"text encoder in {text_dtype}")
    if cache_dtype != "same":
        words.append(f"frame cache in {cache_dtype}")
    return "; ".join(words)


def _check_choices(
    opened: Checkpoint, history: str, mesh: Mesh | None, text_memory: str, text_dtype: str
) -> None:
    """Raises InputError for an unknown history, for what a mesh cannot do, or a missing part."""
    if history not in HISTORIES:
        raise InputError(f"history {history!r} is not known; choose one of {', '.join(HISTORIES)}")
    if mesh and (text_memory, text_dtype) != ("device", "same"):
        raise InputError(
            f"text_memory {text_memory} and text_dtype {text_dtype} are for one device: on a mesh "
            "the text encoder is split; choose device and same"
        )
    if opened.missing:
        missing = ", ".join(opened.missing)
        raise InputError(f"{opened.name} lacks {missing}: import it with all three parts to stream")


def _special_text(opened: Checkpoint, dtype: DType, text_memory: str, text_dtype: str) -> Params:
    """The text encoder's parameters, read on the host; perhaps rounded, perhaps left there."""
    params = opened.read_params("text", dtype)
    if text_dtype != "same":
        params = narrow_text(params)
    if text_memory == "device":
        params = jax.device_put(params, jax.devices()[0])
    return params


def dtype_name(name: str, capability: float | None) -> str:
    """The name in DTYPES that is meant: "auto" is bfloat16 on GPUs whose matrix units have it.

    capability: the GPU's compute capability, None for other devices. Raises InputError if the name
    is not known.
    """
    if name == "auto":
        has_bfloat16 = capability is not None and capability >= AMPERE
        return "bfloat16" if has_bfloat16 else "float32"
    if name not in DTYPES:
        raise InputError(f"dtype {name!r} is not known; choose one of auto, {', '.join(DTYPES)}")
    return name
