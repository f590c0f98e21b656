"""What a stream takes of a device's memory, by formula.

At any moment the device holds the weights, the caches and what is on its way to the host, behind a
shot's first frames a decoder's state, and the working memory of the program that runs:

    sum = held + max( prompt, prefill, state + max(chunk step, decoding, encoding) )             (1)

Weights, caches and states are counted from their shapes. Working memory is what XLA's compiler for
NVIDIA GPUs makes of the programs; these formulas were fitted to what it says of them, and
tests/fit/sizes_test.py compares them. W: bytes of a number; d, m: the transformer's width and its
MLP's; n: a chunk's tokens; s: keys of a layer; P: a picture's pixels; p: frames of a piece:

    a layer's weights   L = W·(6·d² + 2·d·m)
    chunk step          2·W·s·d + L + W·n·d
    prefill             W·n·(m + 3·d) + L + 2·W·d·(captions' rows),    n: of the context         (2)
    decoding            W·c·P·(2·p + 3),    c: channels before the last level's convolutions
    a tiny decoder's    2·W·c·P·p,    c: channels of its last level
    encoding a frame    6·W·P·(the autoencoder's width)

With frames' keys in 8 bits prefill has 8·n·d more. In float32 both have four tiles of attention's
scores more (nn/tiled). The first line is because cuDNN's attention wants a layer's keys and values
copied out of the cache; 8-bit ones are widened by that copy. What cuDNN's convolutions want on top
is not known before they are tried on the GPU, nor are the gaps between arrays: a margin stands for
both.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp

from shotstream_jax.checkpoint.load import DTYPES
from shotstream_jax.core.typing import DType, Params
from shotstream_jax.dit.student import Student
from shotstream_jax.fit.options import StreamOptions
from shotstream_jax.model import abstract_decoder, abstract_params, param_dtype
from shotstream_jax.nn.attention import cache_slots
from shotstream_jax.nn.quantize import quantize_blocks
from shotstream_jax.nn.tiled import GPU_TILE
from shotstream_jax.presets import OWN_DECODER, SHOWN_HISTORY, Preset, VideoFormat, decoder_config
from shotstream_jax.text.narrow import SHARED_AXIS
from shotstream_jax.vae import codec
from shotstream_jax.vae.codec import AnyDecoder, make_decoder
from shotstream_jax.vae.config import DecoderConfig, VAEConfig

# For cuDNN and for gaps, in bytes.
_MARGIN = 2**28
# A layer's weights are sent while the one before computes (text/layerwise).
_LAYERS_IN_FLIGHT = 2


@dataclasses.dataclass(frozen=True)
class Need:
    """Bytes of a device's memory, by name.

    held: weights, caches, what is on its way to the host, a margin; there all the time. state: of
    the decoders. working: of each program of the stream, by its name in bench/parts.
    """

    held: dict[str, int]
    state: int
    working: dict[str, int]

    @property
    def total(self) -> int:
        """Eq. (1)."""
        return self.at(self.largest)

    @property
    def largest(self) -> str:
        """The program that runs when the most is needed."""
        return max(self.working, key=self.at)

    def at(self, program: str) -> int:
        """What is needed while a program runs."""
        # A shot's prompt is embedded, and its context prefilled, before it has been decoded.
        state = 0 if program in ("encode_prompt", "prefill") else self.state
        return sum(self.held.values()) + state + self.working[program]


def stream_need(preset: Preset, video: VideoFormat, options: StreamOptions) -> Need:
    """What a stream of one story takes of a GPU."""
    # 1. What is there all the time: weights, caches, what is on its way, a margin.
    dtype = DTYPES[options.dtype]
    height, width = preset.latent_grid(video)
    piece = options.decode_frames or preset.memory.chunk
    held = {}
    if options.text_memory == "device":
        params = abstract_params(preset, "text")
        held["text encoder"] = _text_bytes(params, dtype, options.text_dtype)
    held["transformer"] = _transformer_bytes(preset, dtype, options.quantize)
    held["autoencoder"] = _part_bytes(preset, "vae", dtype)
    state = _state_bytes(preset.vae, dtype, piece) * height * width
    if options.decoder != OWN_DECODER:
        # Where context frames are the autoencoder's own, it decodes beside the smaller one.
        smaller = decoder_config(options.decoder, preset.vae)
        held[options.decoder] = _tree_bytes(abstract_decoder(smaller), dtype)
        if options.history == SHOWN_HISTORY:
            state = 0
        state += _state_bytes(smaller, dtype, piece) * height * width
    student = Student(preset.dit, dtype, memory=preset.memory, cache_dtype=options.cache_dtype)
    caches = jax.eval_shape(functools.partial(student.init_caches, 1, height, width))
    decoders = _decoders(preset, options)
    held["caches"] = sum(_nbytes(leaf) for leaf in jax.tree.leaves(caches))
    held["pictures, prompts"] = _on_the_way(preset, video)
    held["margin"] = _MARGIN
    # 2. What a program needs while it runs.
    working = {
        "encode_prompt": _prompt_working(preset, options),
        **_transformer_working(preset, video, options),
        "decode_next": max(_decoding(cfg, video, dtype, piece) for cfg in decoders),
        "encode_frame": 6 * _pixels(video) * preset.vae.dim * jnp.dtype(dtype).itemsize,
    }
    return Need(held, state, working)


def _nbytes(leaf: jax.ShapeDtypeStruct) -> int:
    return math.prod(leaf.shape) * jnp.dtype(leaf.dtype).itemsize


def _tree_bytes(params: Params, dtype: DType) -> int:
    """Bytes of parameters in the types that a pass computes with."""
    total = 0
    for path, leaf in jax.tree.leaves_with_path(params):
        total += math.prod(leaf.shape) * jnp.dtype(param_dtype(path, dtype)).itemsize
    return total


@functools.cache
def _part_bytes(preset: Preset, part: str, dtype: DType) -> int:
    return _tree_bytes(abstract_params(preset, part), dtype)


@functools.cache
def _transformer_bytes(preset: Preset, dtype: DType, quantize: str) -> int:
    """Of the transformer's weights, perhaps with blocks in 8 bits."""
    params = abstract_params(preset, "dit")
    if quantize == "none":
        return _tree_bytes(params, dtype)
    # Blocks are counted as they are rounded, the rest as it is.
    rest = {name: tree for name, tree in params.items() if name != "blocks"}
    blocks = {"blocks": params["blocks"]}
    rounded = jax.eval_shape(functools.partial(quantize_blocks, type_name=quantize), blocks)
    return _tree_bytes(rest, dtype) + sum(_nbytes(leaf) for leaf in jax.tree.leaves(rounded))


@functools.cache
def _state_bytes(cfg: DecoderConfig, dtype: DType, frames: int) -> int:
    """Of a decoder's state, for each pixel of the latent grid."""
    decoder: AnyDecoder = make_decoder(cfg, dtype)
    params = abstract_decoder(cfg)
    z = jax.ShapeDtypeStruct((1, frames, 1, 1, cfg.channels), jnp.float32)
    state, _ = jax.eval_shape(functools.partial(codec.decode_first, decoder), params, z)
    return sum(_nbytes(leaf) for leaf in jax.tree.leaves(state))


def _on_the_way(preset: Preset, video: VideoFormat) -> int:
    """Two chunks' frames, as floats and bytes, and a shot's captions' embeddings, thrice.

    They are in the caches' input, and the model keeps as many of the last two stories.
    """
    frames = preset.memory.chunk * preset.vae.time
    pictures = frames * video.height * video.width * 3 * (4 + 1)
    prompts = preset.memory.captions * preset.dit.text_len * preset.dit.text_dim * 4
    return 2 * pictures + 3 * prompts


def _text_bytes(params: Params, dtype: DType, text_dtype: str) -> int:
    """Of the text encoder's parameters, perhaps with matrices in 8 bits and their scales."""
    if text_dtype == "same":
        return _tree_bytes(params, dtype)
    total = 0
    for path, leaf in jax.tree.leaves_with_path(params):
        numbers = math.prod(leaf.shape)
        axis = SHARED_AXIS.get(path[-1].key)
        if axis is None:
            total += 4 * numbers
        else:
            total += numbers + 4 * numbers // leaf.shape[axis]
    return total


def _prompt_working(preset: Preset, options: StreamOptions) -> int:
    """Scores and position biases of all heads, float32; of a layer at a time its weights too."""
    cfg = preset.text
    length = preset.dit.text_len
    dtype = DTYPES[options.dtype]
    working = 2 * cfg.heads * length * length * 4
    if options.text_memory == "host":
        blocks = {"blocks": abstract_params(preset, "text")["blocks"]}
        a_layer = _text_bytes(blocks, dtype, options.text_dtype) // cfg.layers
        working += _LAYERS_IN_FLIGHT * a_layer
    return working


def _transformer_working(
    preset: Preset, video: VideoFormat, options: StreamOptions
) -> dict[str, int]:
    """Eq. (2), the first two."""
    cfg = preset.dit
    memory = preset.memory
    size = jnp.dtype(DTYPES[options.dtype]).itemsize
    rows, columns = cfg.grid(*preset.latent_grid(video))
    tokens = rows * columns
    keys = cache_slots(memory.frames * tokens, cfg.head_dim)
    layer = 6 * cfg.dim**2 + 2 * cfg.dim * cfg.ffn_dim
    captions = memory.captions * cfg.text_len
    # Tokens of a chunk, and of the context.
    new = memory.chunk * tokens
    context = memory.context * tokens
    step = size * (2 * keys * cfg.dim + layer + new * cfg.dim)
    wide = 3 * cfg.dim + cfg.ffn_dim
    prefill = size * (context * wide + layer + 2 * captions * cfg.dim)
    if options.cache_dtype != "same":
        # New keys and values in float32, before they are rounded.
        prefill += 2 * context * cfg.dim * 4
    if options.dtype == "float32":
        # cuDNN has no attention in float32.
        tiles = 4 * GPU_TILE * size
        step += tiles
        prefill += tiles
    return {"prefill": prefill, "chunk_step": step}


def _decoders(preset: Preset, options: StreamOptions) -> list[DecoderConfig]:
    """What decodes: a smaller decoder, or the autoencoder, or both."""
    if options.decoder == OWN_DECODER:
        return [preset.vae]
    smaller = decoder_config(options.decoder, preset.vae)
    if options.history == SHOWN_HISTORY:
        return [smaller]
    return [smaller, preset.vae]


def _pixels(video: VideoFormat) -> int:
    return video.height * video.width


def _decoding(cfg: DecoderConfig, video: VideoFormat, dtype: DType, piece: int) -> int:
    """Eq. (2) for a decoder, and its frames."""
    # Pictures of a piece at their full size: there the decoder is the widest.
    size = jnp.dtype(dtype).itemsize
    pixels = _pixels(video)
    frames = piece * cfg.time
    # The new frames, as floats and as bytes.
    new = frames * pixels * 3 * (4 + 1)
    if not isinstance(cfg, VAEConfig):
        return 2 * size * cfg.decoder[-1] * pixels * frames + new
    # The last level's input is what the level before it leaves, at the full size.
    channels = 2 * cfg.dim
    return size * channels * pixels * (2 * frames + 3) + new
