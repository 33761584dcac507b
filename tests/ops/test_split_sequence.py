"""How arrays are split over the axes of a mesh inside of a program."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from dlcore.ops import split_batch, split_sequence
from dlcore.run.sharding import make_mesh


def sharding_of_result(function, mesh, shape):
    with jax.set_mesh(make_mesh(mesh)):
        return jax.jit(function)(jnp.zeros(shape)).sharding.spec


def test_a_sequence_is_split_by_its_second_axis():
    """Four of eight devices share the sequence, two the batch; the length must divide by four, the width need not."""
    assert sharding_of_result(split_sequence, "data:2,spatial:4", (2, 8, 3)) == PartitionSpec("data", "spatial")
    whole = sharding_of_result(split_sequence, "data:2,spatial:4", (2, 6, 4))
    assert "spatial" not in whole


def test_a_batch_is_split_by_its_first_axis():
    assert sharding_of_result(split_batch, "data:8", (8, 3)) == PartitionSpec("data")
    assert "data" not in sharding_of_result(split_batch, "data:8", (6, 8))


@pytest.mark.parametrize("function", [split_batch, split_sequence])
def test_without_a_mesh_nothing_changes(function):
    x = jnp.arange(8.0).reshape(2, 4)
    assert function(x) is x
