"""The options of `shotstream bench`."""

from shotstream_jax import cli
from shotstream_jax.bench.parts import PARTS
from shotstream_jax.checkpoint.load import DTYPES
from shotstream_jax.memory.cache import CACHE_DTYPES
from shotstream_jax.nn import attention, quantize
from shotstream_jax.presets import DECODERS, HISTORIES, OWN_DECODER, OWN_HISTORY, PRESETS
from shotstream_jax.train.recipe import RECIPES


def add_model_options(p: cli.Parser) -> None:
    """What is measured: sizes, and over which devices."""
    p.add_argument(
        "--preset",
        choices=list(PRESETS),
        help="the model's size (default: tiny; with --all on a GPU or TPU wan-1.3b)",
    )
    p.add_argument("--size", metavar="HEIGHTxWIDTH", help="of the picture (default: the preset's)")
    p.add_argument(
        "--frames", type=int, metavar="N", help="latent frames a shot (default: the preset's)"
    )
    p.add_argument(
        "--batch",
        type=int,
        default=1,
        metavar="N",
        help="stories side by side (default: %(default)s)",
    )
    # Devices.
    p.add_argument(
        "--mesh",
        default="",
        metavar="AXIS=N,…",
        help="the first devices, along data, fsdp, sequence, tensor",
    )


def add_stream_options(p: cli.Parser) -> None:
    """How the stream computes: number formats, attention, what decodes."""
    p.add_argument(
        "--dtype",
        choices=list(DTYPES),
        help="of the matmuls (default: float32; with --all on a GPU or TPU bfloat16)",
    )
    p.add_argument(
        "--quantize",
        default="none",
        choices=quantize.CHOICES,
        help="8-bit matmuls in the stream's blocks",
    )
    p.add_argument(
        "--cache-dtype",
        default="same",
        choices=CACHE_DTYPES,
        help="of frames' keys and values (default: the matmuls')",
    )
    p.add_argument(
        "--decode-frames",
        type=int,
        default=0,
        metavar="N",
        help="latent frames decoded at a time (default: a chunk's)",
    )
    p.add_argument(
        "--attention",
        choices=attention.FORMS,
        help="this form of attention (default: the device's own)",
    )
    # What decodes.
    p.add_argument(
        "--decoder",
        choices=DECODERS,
        default=OWN_DECODER,
        help="of the stream that --aot forecasts for a GPU (default: %(default)s)",
    )
    p.add_argument(
        "--history",
        choices=HISTORIES,
        default=OWN_HISTORY,
        help="of that stream: whose frames its memory is made of (default: %(default)s)",
    )


def add_measuring_options(p: cli.Parser) -> None:
    """How it is measured, and where the results go."""
    choices = ", ".join([*PARTS, "stream", *RECIPES])
    p.add_argument("--parts", metavar="PART,…", help=f"some of: {choices} (default: all)")
    p.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        help="spent on each line (default: 5; with --all 1)",
    )
    p.add_argument(
        "--aot",
        metavar="DEVICE",
        help="compile the stream for a TPU slice or GPU that need not be there: v5p:2x2x1, h100",
    )
    p.add_argument(
        "--json",
        metavar="FILE",
        help="a JSON line for every line of the table, with device and versions",
    )
