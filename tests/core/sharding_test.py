"""Meshes and the rules by which arrays are split over them."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from shotstream_jax.core import sharding
from shotstream_jax.core.errors import InputError


def test_one_axis_takes_the_rest():
    assert sharding.make_mesh().shape["fsdp"] == len(jax.devices()) == 8
    mesh = sharding.make_mesh({"data": 2, "sequence": -1})
    assert dict(mesh.shape) == {"data": 2, "fsdp": 1, "sequence": 4, "tensor": 1}
    assert sharding.part_mesh({"tensor": 2}).size == 2


@pytest.mark.parametrize(
    "shape, message",
    [
        ({"rows": 2}, r"mesh axes \['rows'\] are not known; the axes are data, fsdp"),
        ({"data": 3}, "does not cover 8 devices"),
        ({"data": 3, "fsdp": -1}, "does not cover 8 devices"),
        ({"data": 0, "fsdp": -1}, "does not cover 8 devices"),
    ],
)
def test_meshes_that_do_not_fit(shape, message):
    with pytest.raises(InputError, match=message):
        sharding.make_mesh(shape)
    with pytest.raises(InputError, match="a mesh of tensor=16 needs 16 devices, there are 8"):
        sharding.part_mesh({"tensor": 16, "data": 1})


def test_a_dimension_that_is_not_divided_stays_whole():
    mesh = sharding.make_mesh({"data": 2, "tensor": 4})
    spec = sharding.activation_spec(mesh, "b t n k", (4, 6, 6, 8))
    assert spec == PartitionSpec(("data", "fsdp"), "sequence", None, None)
    with pytest.raises(ValueError, match="do not describe shape"):
        sharding.activation_spec(mesh, "b t", (4, 6, 6))
    with pytest.raises(ValueError, match="do not describe shape"):
        sharding.activation_spec(mesh, "b z", (4, 6))


def test_what_works_on_own_parts_sends_nothing():
    x = jnp.arange(16.0).reshape(8, 2)
    assert sharding.constrain(x, "b d") is x  # without a mesh
    with jax.set_mesh(sharding.make_mesh()):
        double = jax.jit(lambda x: sharding.on_own_part(lambda row: 2 * row, x, dims=["b d"]))
        assert "all-" not in double.lower(x).compile().as_text().replace("all-devices", "")
        assert jnp.array_equal(double(x), 2 * x)
