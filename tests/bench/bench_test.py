"""What the benchmark counts, and what it refuses."""

import jax
import jax.numpy as jnp
import pytest

from shotstream_jax.bench import __main__ as bench
from shotstream_jax.bench.__main__ import main
from shotstream_jax.bench.count import matmul_flops
from shotstream_jax.bench.models import random_model
from shotstream_jax.bench.parts import chunk_parts, decode_parts, vae_parts
from shotstream_jax.bench.subject import BenchSubject
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import part_mesh
from tests.decoders import wide_preset

A, B = jnp.ones((3, 4)), jnp.ones((4, 5))


def test_matmuls_convolutions_loops_and_choices_are_counted():
    assert matmul_flops(lambda a, b: jnp.tanh(a @ b) + 1, A, B) == 2 * 3 * 4 * 5
    image, kernel = jnp.ones((1, 8, 8, 3)), jnp.ones((3, 3, 3, 7))

    def conv(x, k):
        dims = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=dims)

    assert matmul_flops(conv, image, kernel) == 2 * 8 * 8 * 7 * 3 * 3 * 3
    square = jnp.ones((4, 4))
    loop = jax.jit(lambda x: jax.lax.fori_loop(0, 6, lambda i, x: x @ x, x))
    assert matmul_flops(loop, square) == 6 * 2 * 4**3
    choice = lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)  # noqa: E731
    assert matmul_flops(choice, square) == 2 * 2 * 4**3


def test_a_tiny_decoder_of_the_public_size_is_called_again_and_again():
    """Its state goes on from one call to the next."""
    mesh = part_mesh({})
    model = random_model(wide_preset(), jnp.bfloat16, mesh, "none")
    parts = list(decode_parts(BenchSubject(model, model.preset.video, batch=1)))
    assert [part.program.name for part in parts] == ["taehv_first", "taehv_next"]
    with jax.set_mesh(mesh):
        for part in parts:
            call = part.call()
            call()
            stream, _, pixels = call()
            assert pixels.shape == (1, part.frames, 16, 32, 3)
            assert {leaf.dtype for leaf in jax.tree.leaves(stream)} == {jnp.dtype("bfloat16")}


def test_pieces_of_a_chunk_and_an_8_bit_cache(monkeypatch):
    """The options reach the programs: one latent frame a call, and a cache of 8 bits."""
    given = []
    monkeypatch.setattr(bench, "aot_devices", lambda _: jax.devices()[:1])
    monkeypatch.setattr(bench.aot, "report_stream", lambda subject, *_: given.append(subject))
    main(["--aot", "v5p:1", "--decode-frames", "1", "--cache-dtype", "int8"])
    (subject,) = given
    decoding = {part.program.name: part for part in vae_parts(subject)}
    for name, frames in (("decode_first", 1), ("decode_next", subject.model.preset.vae.time)):
        _, _, z, *_ = decoding[name].program.arguments
        assert z.shape[1] == 1 and decoding[name].frames == frames
    for part in chunk_parts(subject):
        assert part.program.arguments[4].frames.keys.numbers.dtype == jnp.int8


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--parts", "dit,text,decoder"], "--parts decoder: there are text"),
        (["--parts", "vae,decode"], "--parts decode: no public decoder reads the latents of tiny"),
        (["--size", "64"], "--size 64: write HEIGHTxWIDTH"),
        (["--size", "65x96"], "height 65 is not a multiple of 8"),
        (["--decode-frames", "2"], "decode_frames 2 does not divide a chunk of 3 latent frames"),
        (["--batch", "0"], "--batch 0 must be at least 1"),
        (["--mesh", "fsdp"], "--mesh fsdp: write AXIS=N"),
        (["--mesh", "fsdp=16"], "fsdp=16 needs 16 devices, there are 8"),
        (["--mesh", "tensor=3"], "4 heads do not divide over mesh.tensor=3"),
        (
            ["--quantize", "int8", "--parts", "dit,teacher"],
            "--quantize int8 is for streaming: leave teacher out of",
        ),
        (["--frames", "4"], "not a multiple of the chunk"),
        (["--json", "/proc/x.json"], "cannot write /proc/x.json"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    with pytest.raises(InputError, match=message):
        main(arguments)
