"""Published weights load, and what does not fit is named; all names and shapes are in test_manifests."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, load_torch
from tests.models.parity import read_golden


@functools.cache
def resnet18_weights():
    return read_golden("tv_resnet18")[2]


def small(**more):
    """The state dict of a resnet18, with other entries in place of some."""
    return {**resnet18_weights(), **more}


def test_an_entry_that_is_missing_or_left_over_is_named():
    weights = small(extra=np.zeros(3))
    del weights["layer1.0.conv1.weight"]
    with pytest.raises(ValueError, match=r"1 missing: layer1\.0\.conv1\.weight; 1 left over: extra"):
        load_torch("resnet18", weights)


def test_a_wrong_shape_is_named():
    weights = small()
    weights["layer1.0.conv1.weight"] = np.zeros((64, 64, 1, 1), np.float32)
    with pytest.raises(ValueError, match=r"of a wrong shape: layer1\.0\.conv1\.weight \(64, 64, 1, 1\)"):
        load_torch("resnet18", weights)
    with pytest.raises(ValueError, match="of a wrong shape"):
        load_torch("resnet18", weights, replace_head=True)


def test_a_head_of_another_size_is_dropped_only_on_demand():
    with pytest.raises(ValueError, match=r"2 of a wrong shape: .*fc\.weight.*replace_head=True"):
        load_torch("resnet18", small(), num_classes=10)
    variables = load_torch("resnet18", small(), replace_head=True, num_classes=10)
    np.testing.assert_array_equal(variables["params"]["head"]["kernel"], jnp.zeros((512, 10)))
    np.testing.assert_array_equal(variables["params"]["conv1"]["kernel"], small()["conv1.weight"].transpose(2, 3, 1, 0))
    logits = jax.eval_shape(create_model("resnet18", num_classes=10).apply, variables, jnp.zeros((1, 64, 64, 3)))
    assert logits.shape == (1, 10)


def test_counters_are_ignored_and_float64_becomes_float32():
    weights = {key: value.astype(np.float64) for key, value in small().items() if "num_batches" not in key}
    leaves = jax.tree.leaves(load_torch("resnet18", weights))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.float32)}
