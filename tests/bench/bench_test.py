"""What the benchmark counts, and what it refuses."""

import jax
import jax.numpy as jnp
import pytest

from shotstream_jax.bench.__main__ import main
from shotstream_jax.bench.count import matmul_flops
from shotstream_jax.core.errors import InputError

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


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--parts", "dit,text,decoder"], "--parts decoder: there are text"),
        (["--size", "64"], "--size 64: write HEIGHTxWIDTH"),
        (["--size", "65x96"], "height 65 is not a multiple of 8"),
        (["--batch", "0"], "--batch 0 must be at least 1"),
        (["--mesh", "fsdp"], "--mesh fsdp: write AXIS=N"),
        (["--mesh", "fsdp=16"], "fsdp=16 needs 16 devices, there are 8"),
        (["--mesh", "tensor=3"], "4 heads do not divide over mesh.tensor=3"),
        (
            ["--quantize", "int8", "--parts", "dit,teacher"],
            "--quantize int8 is for streaming: leave teacher out of",
        ),
        (["--frames", "4"], "not a multiple of the chunk"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    with pytest.raises(InputError, match=message):
        main(arguments)
