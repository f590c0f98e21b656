"""Seeds: two of them never give the same noise, and today's noise of each stays what it was."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.rng import check_seed, chunk_noise, seed_key

SHAPE = (1, 1, 1, 2, 2, 2)


def noise(seed) -> np.ndarray:
    return np.asarray(chunk_noise(seed_key(seed), 0, 1, 2, SHAPE))


@pytest.mark.parametrize(
    "one, other",
    [(7, 7 + 2**32), (-1, 2**32 - 1), (0, 2**32), (-5, 5), (-1, 2**63 - 1), (0, -(2**63))],
)
def test_all_64_bits_count(one, other):
    assert not np.array_equal(noise(one), noise(other))


@pytest.mark.parametrize("seed", [0, 3, 2**31, 2**32 - 1])
def test_seeds_of_32_bits_are_those_of_jax(seed):
    np.testing.assert_array_equal(
        jax.random.key_data(seed_key(seed)), jax.random.key_data(jax.random.key(seed))
    )


@pytest.mark.parametrize("kind", [np.int32, np.uint8, np.int64, np.uint64])
def test_numpy_integers_are_seeds(kind):
    assert check_seed(kind(7)) == 7 and type(check_seed(kind(7))) is int
    np.testing.assert_array_equal(noise(kind(7)), noise(7))


@pytest.mark.parametrize(
    "seed", [2**63, -(2**63) - 1, 2**64 + 7, True, np.bool_(True), 1.0, "7", None]
)
def test_what_is_no_seed(seed):
    with pytest.raises(
        InputError, match=r"run.seed .*from -9223372036854775808 to 9223372036854775807"
    ) as error:
        check_seed(seed, "run.seed")
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="seed -1 must be a whole number from 0"):
        check_seed(-1, least=0)


def test_64_bit_types_change_no_bit():
    """In a process of its own: the setting holds for all of it."""
    program = (
        "import numpy as np; from tests.core.rng_test import noise; import sys;"
        "sys.stdout.buffer.write(np.stack([noise(3), noise(2**40 + 3)]).tobytes())"
    )
    environment = os.environ | {"JAX_ENABLE_X64": "1"}
    run = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True
    )
    with_64_bits = np.frombuffer(run.stdout, np.float32).reshape(2, *SHAPE)
    np.testing.assert_array_equal(with_64_bits, np.stack([noise(3), noise(2**40 + 3)]))
