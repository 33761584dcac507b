"""Published weights go to their shards one array at a time, in the dtype that is asked for."""

import weakref
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

from dlcore.models.stored_arrays import StoredArray
from dlcore.pretrained import from_pretrained
from dlcore.run.sharding import make_mesh, sharding_of

HUB = Path(__file__).parents[1] / "goldens/hub"
VIT = HUB / "google--vit-tiny"


def leaves(tree):
    return {jax.tree_util.keystr(path, simple=True, separator="/"): x for path, x in jax.tree.leaves_with_path(tree)}


@pytest.mark.covers("PT-09")
def test_eight_devices_hold_what_one_holds():
    mesh = make_mesh("data:8", jax.devices()[:8])
    one, eight = (leaves(from_pretrained(VIT, sharding=s).variables) for s in (None, sharding_of(mesh, "fsdp")))
    for path, value in eight.items():
        np.testing.assert_array_equal(value, one[path])
        assert isinstance(value.sharding, NamedSharding)
        assert value.sharding.mesh == mesh
    split = {path for path, value in eight.items() if not value.sharding.is_fully_replicated}
    assert split
    for path in split:
        assert eight[path].addressable_shards[0].data.size * 8 == one[path].size


@pytest.mark.covers("PT-09")
def test_the_host_holds_one_array_at_a_time(monkeypatch):
    """At most two of the largest array: what is read, and its copy in another dtype."""
    alive, most, read = {}, [0], StoredArray.__array__

    def counted(self, dtype=None, copy=None):
        array = read(self, dtype, copy)
        owner = array if array.base is None else array.base
        key = id(owner)
        alive[key] = array.nbytes
        weakref.finalize(owner, alive.pop, key, None)
        most[0] = max(most[0], sum(alive.values()))
        return array

    monkeypatch.setattr(StoredArray, "__array__", counted)
    mesh = make_mesh("data:8", jax.devices()[:8])
    variables = from_pretrained(VIT, sharding=sharding_of(mesh, "fsdp"), param_dtype=jnp.bfloat16).variables
    sizes = [4 * leaf.size for leaf in jax.tree.leaves(variables)]
    assert most[0] <= 2 * max(sizes) < sum(sizes)


def test_parameters_are_stored_in_the_dtype_that_is_asked_for():
    half, full = (leaves(from_pretrained(VIT, param_dtype=dtype).variables) for dtype in (jnp.bfloat16, None))
    assert {leaf.dtype for leaf in half.values()} == {jnp.dtype(jnp.bfloat16)}
    for path, value in half.items():
        np.testing.assert_array_equal(value, full[path].astype(jnp.bfloat16))


def test_a_sharding_may_be_one_for_all_arrays():
    device = jax.devices()[1]
    variables = from_pretrained(VIT, sharding=SingleDeviceSharding(device)).variables
    assert {next(iter(leaf.devices())) for leaf in jax.tree.leaves(variables)} == {device}


@pytest.mark.slow
def test_a_network_of_a_topic_is_sharded_too():
    mesh = make_mesh("data:8", jax.devices()[:8])
    sharding = NamedSharding(mesh, PartitionSpec())
    variables = from_pretrained(HUB / "facebook--detr-tiny", sharding=sharding).variables
    assert all(leaf.sharding == sharding for leaf in jax.tree.leaves(variables))


def test_bad_input():
    with pytest.raises(ValueError, match=r"param_dtype='int8': no floats; allowed: such as jnp\.bfloat16"):
        from_pretrained(VIT, param_dtype="int8")
    with pytest.raises(ValueError, match="sharding='rows'"):
        sharding_of(make_mesh("data:2", jax.devices()[:2]), "rows")
    with pytest.raises(ValueError, match="sharding='tensor': the mesh has no axis 'model'"):
        sharding_of(make_mesh("data:2", jax.devices()[:2]), "tensor")
