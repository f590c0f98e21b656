"""A whole model: sizes, weights and tokeniser.

The modules are stateless; `params` holds all that was learned.

The way from a prompt to pixels, for one story (b = 1), with the module that goes each step:

    prompt, "<global caption>shot<k>:<caption>"                     text/prompts
    ids [l]                                                         text/tokenizer
    embedding [1, l, e]                                             text/umt5
    context frames of earlier shots [1, C, h, w, c]                 memory/select
    context's and captions' keys and values in the caches           dit/student, prefill_context
    for each chunk: noise [1, f, h, w, c] core/rng for each of a few times: velocity [1, f, h, w, c]
        dit/student, denoise; flow/schedule clean chunk's keys and values in the caches dit/student,
        commit pixels [1, p, y, x, 3] of the chunk vae/codec
"""

import contextlib
import dataclasses
import functools
import math
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Array, DType, Params, PRNGKey
from shotstream_jax.dit.describe import Describer
from shotstream_jax.dit.student import Student
from shotstream_jax.dit.styles import StyleSlots, put_styles, without_styles
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.memory.cache import CACHE_DTYPES, FrameIds
from shotstream_jax.memory.choose import CAPTION, remembered_shots
from shotstream_jax.presets import OWN_HISTORY, Preset
from shotstream_jax.text.narrow import TEXT_DTYPES
from shotstream_jax.text.recent import RecentEmbeddings
from shotstream_jax.text.tokenizer import Tokenizer
from shotstream_jax.text.umt5 import UMT5
from shotstream_jax.vae.codec import AnyDecoder, make_decoder
from shotstream_jax.vae.config import DecoderConfig
from shotstream_jax.vae.model import VAE

PARTS = ("dit", "vae", "text")
# Where the text encoder's weights are kept: the host's memory costs their way over the bus for
# every prompt (text/layerwise).
TEXT_MEMORY = ("device", "host")


@dataclasses.dataclass(frozen=True)
class Model:
    """A model that can be run.

    Attributes:
        preset: sizes of all parts.
        params: {"dit", "vae", "text"}, a tree of arrays each; and "decoder", if it has one. Numpy's
            arrays, which "text" may have, are in the host's memory (text/layerwise).
        tokenizer: of the text encoder.
        dtype: type that the passes compute in.
        origin: where the weights come from, for people.
        decoder: sizes of a smaller decoder that makes the frames that are shown; None if the
            autoencoder makes them.
        history: of HISTORIES: whether context frames are decoded by the autoencoder, whatever is
            shown, or those that are shown. The autoencoder encodes them in either case.
        cache_dtype: what the frame cache is kept in, of memory/cache.CACHE_DTYPES.
        decode_frames: how many latent frames are decoded at a time; 0 for a whole chunk.
        fingerprint: of the checkpoint (checkpoint/checksum), which kept stories remember; "" where
            the weights are of no checkpoint.
        styles: adapters beside the transformer (shotstream_jax/styles); None without any.
    """

    preset: Preset
    params: Params
    tokenizer: Tokenizer
    dtype: DType
    origin: str
    decoder: DecoderConfig | None = None
    history: str = OWN_HISTORY
    cache_dtype: str = "same"
    decode_frames: int = 0
    fingerprint: str = ""
    styles: StyleSlots | None = None

    def __repr__(self) -> str:
        # Without the weights, which are megabytes of text.
        return f"Model({self.origin!r}, preset {self.preset.name!r}, parts {sorted(self.params)})"

    @property
    def described(self) -> str:
        """Where the weights come from and which adapters stand beside them, for people."""
        if self.styles is None:
            return self.origin
        words = [f"style {style.name} at {style.strength:g}" for style in self.styles.styles]
        return "; ".join([self.origin, *words])

    @functools.cached_property
    def student(self) -> Student:
        """The causal transformer."""
        return Student(
            self.preset.dit,
            self.dtype,
            memory=self.preset.memory,
            cache_dtype=self.cache_dtype,
        )

    @functools.cached_property
    def vae(self) -> VAE:
        """The autoencoder."""
        return VAE(self.preset.vae, self.dtype)

    @functools.cached_property
    def shown_by(self) -> tuple[AnyDecoder, str]:
        """What decodes the frames that are shown, and the part of `params` that is its own."""
        if self.decoder is None:
            return self.vae, "vae"
        return make_decoder(self.decoder, self.dtype), "decoder"

    @functools.cached_property
    def text(self) -> UMT5:
        """The text encoder."""
        return UMT5(self.preset.text, self.dtype)

    @functools.cached_property
    def embeddings(self) -> RecentEmbeddings[Array]:
        """Of the prompts that were used last: a shot's, the shots' that it remembers, and as many
        of another story."""
        return RecentEmbeddings(2 * self.preset.memory.captions)

    @functools.cached_property
    def meanings(self) -> RecentEmbeddings[np.ndarray]:
        """Means of prompts' embeddings (generate/remember), [e] each in the host's memory: of the
        shots that two stories remember at most, and of their next ones."""
        return RecentEmbeddings(2 * (remembered_shots(CAPTION, self.preset.memory.context) + 1))

    @functools.cached_property
    def describer(self) -> Describer:
        """The pass of the transformer that says what a frame is like."""
        return Describer(self.preset.dit, self.dtype)

    @functools.cached_property
    def frame_keys(self) -> weakref.WeakKeyDictionary[Any, tuple[str, np.ndarray]]:
        """Of shots' records, as long as those live: the prompt, and mean keys [d] of the shot's
        first frame under it (generate/likeness)."""
        return weakref.WeakKeyDictionary()

    def mesh(self, part: str = "dit") -> Mesh | None:
        """The mesh that a part's parameters are on; None for one device without a mesh, or for the
        host's memory."""
        leaf = jax.tree.leaves(self.params[part])[0]
        if isinstance(leaf, np.ndarray):
            return None
        sharding = leaf.sharding
        if not isinstance(sharding, NamedSharding):
            return None
        mesh = sharding.mesh
        assert isinstance(mesh, Mesh)  # arrays that exist are on devices
        return mesh

    def transformer(self, stories: Sequence[Mapping[str, float]]) -> Params:
        """The transformer's parameters, with its adapters at the strengths of each story.

        stories: of each one the strengths by the adapters' checksums; others have strength 0.
        Raises InputError for an adapter that the model has not.
        """
        params = self.params["dit"]
        if self.styles is None:
            return without_styles(params, stories)
        strengths = self.styles.strength_table(stories)
        return put_styles(params, self.styles.factors, strengths)

    def on_mesh(self, part: str = "dit") -> contextlib.AbstractContextManager[Any]:
        """The context that a part's passes run in.

        In it activations are laid out on the part's mesh by the rules of core/sharding.
        """
        mesh = self.mesh(part)
        if mesh is None:
            return contextlib.nullcontext()
        return jax.set_mesh(mesh)


def check_savings(
    preset: Preset,
    cache_dtype: str = "same",
    decode_frames: int = 0,
    text_memory: str = "device",
    text_dtype: str = "same",
) -> None:
    """Raises InputError for a choice of what is kept small that is not known or does not fit."""
    if cache_dtype not in CACHE_DTYPES:
        known = ", ".join(CACHE_DTYPES)
        raise InputError(f"cache_dtype {cache_dtype!r} is not known; choose one of {known}")
    if text_dtype not in TEXT_DTYPES:
        known = ", ".join(TEXT_DTYPES)
        raise InputError(f"text_dtype {text_dtype!r} is not known; choose one of {known}")
    if text_memory not in TEXT_MEMORY:
        known = ", ".join(TEXT_MEMORY)
        raise InputError(f"text_memory {text_memory!r} is not known; choose one of {known}")
    chunk = preset.memory.chunk
    divides = decode_frames >= 0 and (decode_frames == 0 or chunk % decode_frames == 0)
    if not divides:
        raise InputError(
            f"decode_frames {decode_frames} does not divide a chunk of {chunk} latent frames; "
            "0 decodes whole chunks"
        )


def init_part(
    preset: Preset,
    part: str,
    key: PRNGKey,
) -> Params:
    """Fresh parameters of one part (docs/method.md, section 1).

    Traceable: eval_shape and jit apply.
    """
    # One frame of one patch, one token: the smallest inputs that touch every parameter.
    if part == "dit":
        patch = preset.dit.patch
        frame = jnp.zeros((1, 1), jnp.int32)
        variables = Teacher(preset.dit).init(
            key,
            x=jnp.zeros((1, 1, patch, patch, preset.dit.channels)),
            t=jnp.zeros(1),
            ids=FrameIds(phase=frame, caption=frame),
            text=jnp.zeros((1, 1, 1, preset.dit.text_dim)),
        )
    elif part == "vae":
        edge = preset.vae.space
        variables = VAE(preset.vae).init(key, pixels=jnp.zeros((1, 1, edge, edge, 3)))
    elif part == "text":
        variables = UMT5(preset.text).init(
            key,
            ids=jnp.zeros((1, 1), jnp.int32),
            length=jnp.ones(1, jnp.int32),
        )
    else:
        raise ValueError(f"{part!r} is not a part of a model; expected one of {', '.join(PARTS)}")
    return variables["params"]


def init_decoder(cfg: DecoderConfig, key: PRNGKey) -> Params:
    """Fresh parameters of a decoder and of the encoder that belongs to it. Traceable."""
    # Smallest inputs: one picture of one latent pixel; a tiny one repeats it T times by itself.
    pixels = jnp.zeros((1, 1, cfg.space, cfg.space, 3))
    return make_decoder(cfg, jnp.float32).init(key, pixels=pixels)["params"]


@functools.cache
def abstract_decoder(cfg: DecoderConfig) -> Params:
    """Shapes and types of a decoder's parameters, as abstract_params."""
    return jax.eval_shape(functools.partial(init_decoder, cfg), jax.random.key(0))


@functools.cache
def abstract_params(preset: Preset, part: str) -> Params:
    """Shapes and types of one part's parameters; no array is made.

    Traced once for a part. The tree is shared by all callers, who must not change it.
    """
    return jax.eval_shape(functools.partial(init_part, preset, part), jax.random.key(0))


def param_dtype(path: tuple[Any, ...], dtype: DType) -> DType:
    """The type of a parameter of a part that computes in `dtype`.

    Matrices take the compute type (half the memory in bf16); vectors, tables and the time embedding
    stay float32.
    """
    is_matrix = path[-1].key in ("kernel", "embedding")
    of_time = path[0].key.startswith("time_")
    if is_matrix and not of_time:
        return dtype
    return jnp.float32


def compute_params(params: Params, dtype: DType) -> Params:
    """One part's parameters in the types that a pass computes with."""

    def cast(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        return leaf.astype(param_dtype(path, dtype))

    return jax.tree_util.tree_map_with_path(cast, params)


def random_params(
    preset: Preset,
    seed: int,
    parts: Sequence[str] = PARTS,
) -> Params:
    """Seeded numpy weights for trying the machinery.

    Every matrix is N(0, 1/fan-in), so that signals keep their size. Not for training (init_part
    is): there a transformer starts with a zero head and would ignore its input.
    """
    generator = np.random.default_rng(seed)

    def draw(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        names = [key.key for key in path]
        return _draw(generator, names, leaf.shape)

    params = {}
    for part in parts:
        shapes = abstract_params(preset, part)
        params[part] = jax.tree_util.tree_map_with_path(draw, shapes)
    return params


def _draw(
    generator: np.random.Generator,
    path: list[str],
    shape: tuple[int, ...],
) -> np.ndarray:
    """One parameter: gains 1, biases 0, all else normal."""
    name = path[-1]
    if name == "scale":
        return np.ones(shape, np.float32)
    if name == "bias":
        return np.zeros(shape, np.float32)
    numbers = generator.standard_normal(shape, np.float32)
    return numbers / np.float32(math.sqrt(fan_in(path, shape)))


def fan_in(path: Sequence[str], shape: tuple[int, ...]) -> int:
    """How many numbers are summed for one output of a parameter of this name and shape."""
    if path[-1] in ("embedding", "positions"):  # tables, of which a row is taken
        return 1
    first = 1 if path[0] == "blocks" else 0  # after the axis of stacked layers
    return math.prod(shape[first:-1])
