"""Penalties by hand, and what they do to weights that are fitted under them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.losses import elastic_net_penalty, full_loss, is_kernel, l1_penalty, l2_penalty, orthogonal_penalty

TREE = {"kernel": jnp.array([[1.0, -2.0], [0.5, 0.0]]), "bias": jnp.array([3.0, -4.0])}
TOKENS = {"cls_token": jnp.ones((1, 1, 2)), "encoder": {"pos_embed": {"embedding": jnp.ones((1, 3, 2))}}}


@pytest.mark.covers("RG-01")
def test_l2_prefers_weights_that_are_spread():
    x = jnp.ones(4)
    one, spread = jnp.array([1.0, 0, 0, 0]), jnp.full(4, 0.25)
    assert float(one @ x) == float(spread @ x) == 1.0  # the same score
    assert float(l2_penalty(one)) == 1.0
    assert float(l2_penalty(spread)) == 0.25  # 4 * 1/16
    assert float(l1_penalty(one)) == float(l1_penalty(spread)) == 1.0  # L1 does not care


@pytest.mark.covers("RG-01")
def test_the_gradient_of_half_the_square_is_weight_decay():
    rate, weight = 0.1, 0.5
    tx = optax.sgd(rate)
    w = jnp.array([2.0, -1.0])

    def loss(w):
        return full_loss(jnp.array([3 * w[0], w[0] - w[1]]), l2_penalty(w, half=True), weight)

    slopes = [jax.grad(f) for f in (loss, l2_penalty, lambda w: l2_penalty(w, half=True))]
    slope, whole, half = jax.jit(lambda w: [f(w) for f in slopes])(w)
    updates, _ = tx.update(slope, tx.init(w), w)
    # dE/dw of the mean (3 w0 + w0 - w1) / 2 is (2, -.5).  w0: 2 - .1 * 2 - .1 * .5 * 2 = 1.7;
    # w1: -1 + .1 * .5 + .1 * .5 * 1 = -.9.
    np.testing.assert_allclose(w + updates, [1.7, -0.9], rtol=1e-6)
    # lambda against lambda / 2: without the half the decay is twice as strong.
    np.testing.assert_allclose(whole, 2 * w)
    np.testing.assert_allclose(half, w)


@pytest.mark.covers("RG-02", "RG-03")
def test_sums_over_a_tree_by_hand():
    assert float(l2_penalty(TREE)) == 1 + 4 + 0.25 + 9 + 16
    assert float(l1_penalty(TREE)) == 1 + 2 + 0.5 + 3 + 4
    assert float(l2_penalty(TREE, where=is_kernel)) == 5.25
    assert float(l1_penalty(TREE, where=is_kernel)) == 3.5
    # Tokens and positions have several axes and are no kernels.
    assert float(l2_penalty({**TREE, **TOKENS}, where=is_kernel)) == 5.25
    assert float(l2_penalty(TOKENS)) == 8
    # beta W^2 + |W|: 2 * 5.25 + 3.5.
    assert float(elastic_net_penalty(TREE, 2.0, is_kernel)) == 14.0
    assert float(elastic_net_penalty(TREE, 0.0)) == float(l1_penalty(TREE))
    # At 0 the sub-gradient 0 is taken.
    slopes = jax.jit(lambda t: [jax.grad(f)(t) for f in (l1_penalty, lambda t: elastic_net_penalty(t, 0.0))])(TREE)
    for slope in slopes:
        np.testing.assert_array_equal(slope["kernel"], [[1, -1], [1, 0]])


def test_dtypes_nothing_and_a_bad_beta():
    assert float(l2_penalty({})) == 0.0
    assert float(l1_penalty({"b": jnp.ones(3)}, where=is_kernel)) == 0.0
    half = l2_penalty(jnp.full(4096, 1.0, jnp.bfloat16))
    assert (half.dtype, float(half)) == (jnp.float32, 4096.0)
    assert float(l1_penalty(jnp.zeros((0, 3)))) == 0.0
    with jax.enable_x64(True):
        assert l1_penalty(jnp.ones(2, jnp.float64)).dtype == jnp.float64


@pytest.mark.covers("GE-22")
def test_the_orthogonal_penalty_by_hand():
    """Columns (1, .5) and (-2, 0): their product is -2, which stands twice off the diagonal of W^T W: 2 * 4."""
    value, gradient = jax.jit(jax.value_and_grad(orthogonal_penalty))(TREE)
    assert float(value) == 8
    # d/dW sum_{i != j} (w_i . w_j)^2 = 4 sum_j (w_i . w_j) w_j: 4 * -2 * (-2, 0) and 4 * -2 * (1, .5); none for a bias.
    np.testing.assert_array_equal(gradient["kernel"], [[16, -8], [0, -4]])
    np.testing.assert_array_equal(gradient["bias"], [0, 0])
    # Length costs nothing, and filters of a convolution are compared over all their weights.
    filters = np.arange(8, dtype=np.float32).reshape(2, 1, 2, 2)  # outputs (0, 2, 4, 6), (1, 3, 5, 7): 6 + 20 + 42 = 68
    kernels = jax.jit(lambda *trees: [orthogonal_penalty(tree) for tree in trees])
    assert [float(x) for x in kernels(5 * np.eye(3, dtype=np.float32), filters)] == [0, 2 * 68**2]
    tree = {**TREE, "cls_token": np.ones((1, 2, 2), np.float32)}
    assert float(jax.jit(lambda t: orthogonal_penalty(t, is_kernel))(tree)) == 8
