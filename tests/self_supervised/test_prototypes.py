"""Sinkhorn's marginals, by arithmetic, beside NumPy and with padding; and more prototypes than examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.learner import State
from dlcore.optim import OPTIMIZERS, create_optimizer
from dlcore.self_supervised import prototypes
from tests import prototype_toys


@pytest.mark.covers("SS-32")
def test_marginals_of_sinkhorn():
    """Seven examples and four prototypes: each example has the sum 1, each prototype 7 / 4."""
    scores = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    q = prototypes.sinkhorn(scores, 0.5, 100)
    q = np.asarray(q)
    np.testing.assert_allclose(q.sum(1), np.ones(7), atol=1e-5)
    np.testing.assert_allclose(q.sum(0), np.full(4, 7 / 4), atol=1e-5)


@pytest.mark.covers("SS-32")
def test_sinkhorn_by_arithmetic_and_beside_numpy():
    # e^scores is [[4, 1], [1, 4]]: both columns have the sum 5, and the quotients the row sums 1.
    np.testing.assert_allclose(
        prototypes.sinkhorn(np.log([[4.0, 1], [1, 4]]).astype(np.float32), 1.0, 1), [[0.8, 0.2], [0.2, 0.8]], rtol=1e-6
    )
    scores = np.random.default_rng(1).normal(size=(7, 4)).astype(np.float32)
    expected = prototype_toys.sinkhorn(scores, 0.3, 3)
    assert np.abs(expected.sum(0) - 7 / 4).max() > 1e-3  # three iterations have not converged
    np.testing.assert_allclose(prototypes.sinkhorn(scores, 0.3, 3), expected, atol=1e-5)


@pytest.mark.covers("SS-32")
def test_padding_shares_in_no_assignment_and_small_temperatures_do_not_overflow():
    scores = np.random.default_rng(2).normal(size=(7, 4)).astype(np.float32)
    mask = np.array([1, 0, 1, 1, 0, 1, 1], np.float32)
    q = prototypes.sinkhorn(scores, 0.5, 4, mask)
    np.testing.assert_allclose(q[mask > 0], prototype_toys.sinkhorn(scores[mask > 0], 0.5, 4), atol=1e-5)
    np.testing.assert_array_equal(q[mask == 0], np.zeros((2, 4)))
    np.testing.assert_array_equal(prototypes.sinkhorn(scores, 0.5, 4, np.zeros(7)), np.zeros((7, 4)))
    sharp = prototypes.sinkhorn(1000 * scores, 0.01, 3)
    np.testing.assert_allclose(np.asarray(sharp).sum(1), np.ones(7), atol=1e-5)
    gradient = jax.grad(lambda s: prototypes.sinkhorn(s, 0.5).sum())(jnp.asarray(scores))
    np.testing.assert_array_equal(gradient, np.zeros((7, 4)))


@pytest.mark.covers("SS-35")
def test_crops_and_patches_share_one_assignment():
    """Two crops of two images of one patch, one of them not masked: the three others are assigned together."""
    scores = np.random.default_rng(3).normal(size=(2, 2, 1, 3)).astype(np.float32)
    mask = np.array([[[1], [0]], [[1], [1]]])
    q, entropy = prototypes.sinkhorn_targets(scores, 0.5, 3, mask)
    expected = prototype_toys.sinkhorn(scores[[0, 1, 1], [0, 0, 1], 0], 0.5, 3)
    np.testing.assert_allclose([q[0, 0, 0], q[1, 0, 0], q[1, 1, 0]], expected, atol=1e-5)
    np.testing.assert_allclose(entropy[0, 0, 0], -(expected[0] * np.log(expected[0])).sum(), atol=1e-5)
    np.testing.assert_array_equal([*q[0, 1, 0], entropy[0, 1, 0]], np.zeros(4))


def test_bad_input():
    with pytest.raises(ValueError, match="more than the 3 examples to share them; allowed: at most 3, or a larger"):
        prototypes.sinkhorn(np.ones((3, 4), np.float32))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_prototypes_stand_still_under_every_optimizer(name):
    """Factors 0, 0, 1, 0: neither weight decay, soft thresholds, a limit nor momentum turns or shortens them."""
    tx = create_optimizer(name, 0.01, weight_decay=0.05, l1=0.01, max_norm=1.0)
    rng, names = np.random.default_rng(4), ("prototypes", "patch_prototypes", "kernel")
    params, gradients = ({name: rng.normal(size=(4, 3)).astype(np.float32) for name in names} for _ in range(2))

    @jax.jit
    def run(factors):
        def step(state, factor):
            state = prototypes.prototype_step(state, tx, gradients, factor)
            return state, state.params

        return jax.lax.scan(step, State(jnp.int32(0), jax.random.key(0), params, tx.init(params)), factors)

    state, after = run(jnp.float32([0, 0, 1, 0]))
    assert state.step == 4
    for name in names[:2]:
        np.testing.assert_array_equal(after[name][:2], [params[name]] * 2)
        np.testing.assert_array_equal(after[name][3], after[name][2])
        assert (after[name][2] != params[name]).any()
    assert (np.diff(after["kernel"], axis=0) != 0).any((1, 2)).all()


def test_examples_are_counted_and_not_rows():
    """Four examples can share four prototypes, three cannot, however many rows of padding stand beside them."""
    scores, mask = np.zeros((9, 4), np.float32), np.arange(9) < 4
    np.testing.assert_allclose(prototypes.sinkhorn(scores, mask=mask).sum(1), mask, atol=1e-6)
    with pytest.raises(ValueError, match="prototypes=4: more than the 3 examples"):
        prototypes.sinkhorn(scores, mask=np.arange(9) < 3)
