"""Graph convolution of a path of three nodes by hand, and under a permutation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.nn import GraphConv, neighbor_sum

# 0 - 1 - 2
PATH = jnp.asarray([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
EDGES = jnp.asarray([[0, 1], [1, 0], [1, 2], [2, 1], [0, 2]])
MASK = jnp.asarray([1, 1, 1, 1, 0])


@pytest.mark.covers("CV-14")
def test_by_hand():
    f = jnp.asarray([[1.0, 0.0], [0.0, 1.0], [2.0, 3.0]])
    params = {
        "self": {"kernel": jnp.asarray([[1.0], [10.0]]), "bias": jnp.asarray([0.5])},
        "neighbors": {"kernel": jnp.asarray([[100.0], [1000.0]])},
    }
    # Node 0: 1 + its neighbor's 1000. Node 1: 10 + 100 (1 + 2) + 1000 (0 + 3). Node 2: 2 + 30 + 1000. And .5 each.
    want = [1001.5, 3310.5, 1032.5]
    layer = GraphConv(1)
    np.testing.assert_allclose(layer.apply({"params": params}, f, adjacency=PATH)[:, 0], want)
    np.testing.assert_allclose(layer.apply({"params": params}, f, edges=EDGES, edge_mask=MASK)[:, 0], want)


@pytest.mark.slow
@pytest.mark.covers("CV-14")
def test_renaming_the_nodes_renames_the_result():
    rng = np.random.default_rng(0)
    f, order = jnp.asarray(rng.normal(size=(6, 4)), jnp.float32), rng.permutation(6)
    adjacency = jnp.asarray(rng.uniform(size=(6, 6)) < 0.4)
    layer = GraphConv(3)
    variables = layer.init(jax.random.key(0), f, adjacency)
    y = layer.apply(variables, f, adjacency)
    np.testing.assert_allclose(layer.apply(variables, f[order], adjacency[order][:, order]), y[order], atol=1e-5)
    i, j = np.nonzero(np.asarray(adjacency))
    np.testing.assert_allclose(layer.apply(variables, f, edges=jnp.stack([i, j], 1)), y, atol=1e-5)


def test_no_neighbors_and_errors():
    f = jnp.ones((3, 2))
    np.testing.assert_array_equal(neighbor_sum(f, jnp.zeros((3, 3))), jnp.zeros((3, 2)))
    np.testing.assert_array_equal(neighbor_sum(f, edges=jnp.zeros((0, 2), int)), jnp.zeros((3, 2)))
    with pytest.raises(ValueError, match="exactly one"):
        neighbor_sum(f)
    with pytest.raises(ValueError, match=r"adjacency.shape="):
        neighbor_sum(f, jnp.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"edges=.*not edges"):
        neighbor_sum(f, edges=jnp.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"edge_mask.shape="):
        neighbor_sum(f, edges=EDGES, edge_mask=jnp.ones(2))


def test_sums_of_bytes_do_not_wrap():
    f, expected = np.full((3, 1), 200, np.uint8), [[200], [400], [200]]
    np.testing.assert_array_equal(neighbor_sum(jnp.asarray(f), PATH), expected)
    np.testing.assert_array_equal(neighbor_sum(jnp.asarray(f), edges=EDGES, edge_mask=MASK), expected)
