"""MaxViT against torchvision, its two partitions, and attention along a grid by formula."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models.maxvit import PartitionAttention, join_sets, sets_of_pixels
from dlcore.models.stored_counts import stored_models
from tests.models.training import compiled, draw

TINY = {"stages": (1, 1), "widths": (8, 8), "stem_width": 4, "partition_size": 2, "head_features": 4}


@pytest.mark.covers("ZO-33")
def test_the_stored_count_is_torchvisions():
    assert stored_models("image")["maxvit_t"]["parameters"] == 30_919_624


@pytest.mark.covers("ZO-33")
def test_windows_are_neighbors_and_the_grid_is_spread():
    """A map of 4 x 6 in sets of 2 x 2: the grid takes rows 0 and 2, columns 0 and 3."""
    x = jnp.arange(24).reshape(1, 4, 6, 1)
    np.testing.assert_array_equal(sets_of_pixels(x, 2, "window")[0, 0, :, 0], [0, 1, 6, 7])
    np.testing.assert_array_equal(sets_of_pixels(x, 2, "grid")[0, 0, :, 0], [0, 3, 12, 15])
    np.testing.assert_array_equal(sets_of_pixels(x, 2, "grid")[0, 4, :, 0], [7, 10, 19, 22])
    for partition in ("window", "grid"):
        sets = sets_of_pixels(x, 2, partition)
        chex.assert_shape(sets, (1, 6, 4, 1))
        chex.assert_trees_all_equal(join_sets(sets, 4, 6, 2, partition), x)


def layer_norm(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


@pytest.mark.covers("ZO-33")
@pytest.mark.parametrize("partition", ["window", "grid"])
def test_attention_by_formula(partition):
    """One head of 4 channels; scores are divided by 2 = sqrt(4); the MLP's last kernel is 0."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 4, 4, 4)), jnp.float32)
    block = PartitionAttention(partition, 2, head_features=4, mlp_ratio=1)
    variables = draw(block, x)
    params = variables["params"]
    params["mlp"]["fc2"]["kernel"] = jnp.zeros((4, 4))
    p = jax.tree.map(lambda v: np.asarray(v, np.float64), params)
    y, expected = layer_norm(np.asarray(x[0], np.float64)), np.asarray(x[0], np.float64)
    offsets = [np.array([0, 0]), np.array([0, 1]), np.array([1, 0]), np.array([1, 1])]
    table = p["bias_table"]["embedding"].reshape(3, 3)
    bias = np.array([[table[tuple(a - b + 1)] for b in offsets] for a in offsets])
    for r, c in np.ndindex(2, 2):
        rows, columns = ([2 * r, 2 * r + 1], [2 * c, 2 * c + 1]) if partition == "window" else ([r, r + 2], [c, c + 2])
        pixels = np.ix_(rows, columns)
        q, k, v = np.split(y[pixels].reshape(4, 4) @ p["attn"]["qkv"]["kernel"], 3, -1)
        weights = np.exp(q @ k.T / 2 + bias)
        mixed = weights / weights.sum(-1, keepdims=True) @ v @ p["attn"]["proj"]["kernel"]
        expected[pixels] += mixed.reshape(2, 2, 4)
    np.testing.assert_allclose(compiled(block, variables, x)[0], expected, atol=1e-5)


@pytest.mark.covers("ZO-33")
def test_indivisible_sides_and_unknown_partitions_are_refused():
    with pytest.raises(ValueError, match=r"x\.shape=\(1, 8, 7, 32\): sets do not fit"):
        jax.eval_shape(lambda: PartitionAttention("grid").init(jax.random.key(0), jnp.zeros((1, 8, 7, 32))))
