"""Compiling for a slice that is not there: mistakes are told in one line."""

import jax
import pytest

from shotstream_jax.aot import compile as aot
from shotstream_jax.core import devices
from shotstream_jax.core.errors import InputError

FULL = """RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. \
Ran out of memory in memory space hbm.
Used 20.01G of 15.75G hbm. Exceeded hbm capacity by 4.26G."""


def test_without_the_compiler(monkeypatch):
    monkeypatch.setattr(aot.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'shotstream-jax\[aot\]'"):
        aot.aot_devices("v5e:2x2")


def test_an_unknown_slice(monkeypatch):
    from jax.experimental import topologies

    def refuse(**_):
        raise jax.errors.JaxRuntimeError(
            "INVALID_ARGUMENT: Invalid TPU external name: TPU v9\nand more"
        )

    monkeypatch.setattr(aot.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(topologies, "get_topology_desc", refuse)
    with pytest.raises(
        InputError, match=r"v9:2x2: no such TPU slice .*TPU v9\); names are like v5e:2x4"
    ):
        aot.aot_devices("v9:2x2")


@pytest.mark.parametrize(
    "text, numbers", [(FULL, "20.01GiB .* 15.75GiB"), ("RESOURCE_EXHAUSTED: vmem", "vmem")]
)
def test_a_program_that_does_not_fit(text, numbers):
    class Jitted:
        def lower(self):
            raise jax.errors.JaxRuntimeError(text)

    with pytest.raises(InputError, match=rf"critic does not fit: .*{numbers}.*mesh\.sequence"):
        aot.compile_program(aot.Program("critic", Jitted(), (), 0.0), "Raise mesh.sequence")


def test_a_program_whose_memory_adds_up_to_more_than_there_is(monkeypatch):
    """Even if the compiler accepts it."""
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shape = jax.ShapeDtypeStruct((2**20,), "float32", sharding=place)
    program = aot.Program("step", jax.jit(lambda x: x + 1), (shape,), 0.0)
    monkeypatch.setitem(devices.HBM, "cpu", 9 / 1024)
    assert aot.compile_program(program, "").total == 2**23  # its argument and its result
    monkeypatch.setitem(devices.HBM, "cpu", 7 / 1024)
    with pytest.raises(
        InputError,
        match=r"step does not fit: it needs 0.01GiB .* which has 0.0068\d*GiB. Take more",
    ):
        aot.compile_program(program, "Take more")
