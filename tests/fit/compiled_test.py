"""Plans against compiled programs, for GPUs that are not there.

Each plan that is offered for wan-1.3b, at the program that runs when it needs the most: the bytes
that it says are within 5 % of those that the compiler says.
"""

import dataclasses
import functools

import jax.numpy as jnp
import pytest

from shotstream_jax.aot.compile import GIB, Compiled, aot_devices, compile_program
from shotstream_jax.bench.models import abstract_model
from shotstream_jax.bench.parts import PARTS
from shotstream_jax.bench.subject import BenchSubject
from shotstream_jax.core.sharding import part_mesh
from shotstream_jax.fit.card import find_card
from shotstream_jax.fit.choose import cheapest_that_fits, largest_that_fits
from shotstream_jax.fit.options import StreamOptions
from shotstream_jax.fit.sizes import Need, stream_need
from shotstream_jax.presets import VideoFormat, find_preset

PRESET = find_preset("wan-1.3b")
SMALL = VideoFormat(368, 640, 21)
TEXT_ON_HOST = StreamOptions(text_memory="host")
BY_FRAMES = dataclasses.replace(TEXT_ON_HOST, decode_frames=1)
NARROW = dataclasses.replace(BY_FRAMES, cache_dtype="int8")
ALL = dataclasses.replace(NARROW, quantize="int8")
OFFERED = {
    "rtx4090": (PRESET.video, TEXT_ON_HOST),
    "rtx4080": (PRESET.video, BY_FRAMES),
    "rtx4070": (PRESET.video, NARROW),
    "8": (SMALL, ALL),
}


@pytest.mark.parametrize("gpu", OFFERED)
def test_what_is_offered(gpu):
    """The plans that the compiled programs below are of."""
    video, options = OFFERED[gpu]
    memory = find_card(gpu).memory
    if video == PRESET.video:
        assert cheapest_that_fits(PRESET, PRESET.video, StreamOptions(), memory) == options
    else:
        assert cheapest_that_fits(PRESET, PRESET.video, StreamOptions(), memory) is None
        found = largest_that_fits(PRESET, PRESET.video, StreamOptions(), memory)
        assert found == (video, options)


@functools.cache
def compiled(name: str, video: VideoFormat, options: StreamOptions) -> Compiled:
    """A program of a stream with these options, for a GPU of 24 GB."""
    pytest.importorskip("jax_cuda13_plugin", reason="pip install 'shotstream-jax[aot-gpu]'")
    mesh = part_mesh({}, aot_devices("rtx4090"))
    model = abstract_model(PRESET, jnp.bfloat16, mesh, options.quantize)
    model = dataclasses.replace(
        model, cache_dtype=options.cache_dtype, decode_frames=options.decode_frames
    )
    subject = BenchSubject(model, video, 1, abstract=True)
    part = "vae" if name == "decode_next" else "chunk"
    for found in PARTS[part](subject):
        if found.program.name == name:
            with model.on_mesh():
                return compile_program(found.program, "")
    raise ValueError(name)


def check(need: Need, name: str, program: Compiled) -> None:
    """The formula's working memory is what is compiled, in parts of all that is needed.

    5 % are promised; a term of the formula that is wrong by a factor would hide in them. Never more
    than 1 % too little. 2 % too much are allowed: compilers newer than jax 0.10 need less.
    """
    working = program.total - program.argument
    too_much = need.working[name] - working
    assert -0.01 * need.at(name) < too_much < 0.02 * need.at(name)


# text_memory has no part in these programs.
@pytest.mark.parametrize("gpu", ["rtx4090", "rtx4070", "8"])
def test_decoding(gpu):
    """It is the largest program of every plan; its arguments are counted exactly."""
    video, options = OFFERED[gpu]
    program = compiled("decode_next", video, StreamOptions(decode_frames=options.decode_frames))
    need = stream_need(PRESET, video, options)
    assert need.largest == "decode_next"
    check(need, "decode_next", program)
    # The decoder's half of the autoencoder, its state, and a piece of latents.
    beside = program.argument - need.state
    assert 0 < beside < need.held["autoencoder"]


@pytest.mark.parametrize("gpu", ["rtx4070", "8"])
def test_a_chunk_step(gpu):
    """With frames in 8 bits, and with weights in 8 bits too."""
    video, options = OFFERED[gpu]
    program = compiled(
        "chunk_step", video, dataclasses.replace(options, decode_frames=0, text_memory="device")
    )
    need = stream_need(PRESET, video, options)
    # No more than a layer of the cache is wide at any time.
    assert program.temp < 0.5 * GIB
    check(need, "chunk_step", program)
    # All but the weights that only text and context need.
    held = need.held["caches"] + need.held["transformer"]
    assert held - program.argument < 0.12 * need.held["transformer"]
    assert program.aliased >= 0.99 * need.held["caches"]
