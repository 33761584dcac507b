"""Fisher vectors against the expanded sums that scikit-image computes, and against two points by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.classical_vision.fisher_vector import fisher_vector


def expanded(x, weights, means, variances):
    """The sums of posteriors, of posteriors times x and times x^2; scikit-image gives the last part with minus."""
    log = np.log(weights) - 0.5 * ((x[:, None] - means) ** 2 / variances + np.log(2 * np.pi * variances)).sum(-1)
    posterior = np.exp(log - log.max(1, keepdims=True))
    posterior /= posterior.sum(1, keepdims=True)
    s0, s1, s2 = posterior.mean(0)[:, None], posterior.T @ x / len(x), posterior.T @ x**2 / len(x)
    d_mu = (s1 - s0 * means) / (np.sqrt(weights)[:, None] * np.sqrt(variances))
    d_sigma = s2 + s0 * means**2 - s0 * variances - 2 * s1 * means
    return np.concatenate([d_mu.ravel(), (d_sigma / (np.sqrt(2 * weights)[:, None] * variances)).ravel()])


@pytest.mark.covers("VD-13")
def test_it_is_the_expanded_sums():
    rng = np.random.default_rng(0)
    x, means = rng.normal(size=(30, 3)), rng.normal(size=(2, 3))
    weights, variances = np.array([0.3, 0.7]), rng.uniform(0.5, 2, (2, 3))
    given = [jnp.asarray(v, jnp.float32) for v in (x, weights, means, variances)]
    plain, improved = jax.jit(lambda *a: (fisher_vector(*a, improved=False), fisher_vector(*a)))(*given)
    wanted = expanded(x, weights, means, variances)
    chex.assert_shape(plain, (2 * 2 * 3,))
    np.testing.assert_allclose(plain, wanted, atol=2e-5)
    root = np.sign(wanted) * np.sqrt(np.abs(wanted))
    np.testing.assert_allclose(improved, root / np.linalg.norm(root), atol=2e-3)


def test_two_points_by_hand():
    # One Gaussian at 1 of deviation 2: (3 - 1) / 2 = 1 and (1 - 1) / 2 = 0; mean .5, and (1 - 1 + 0 - 1) / 2 / sqrt(2).
    vector = fisher_vector(jnp.array([[3.0], [1.0]]), jnp.ones(1), jnp.ones((1, 1)), jnp.full((1, 1), 4.0), False)
    np.testing.assert_allclose(vector, [0.5, -0.5 / np.sqrt(2)], rtol=1e-6)


def test_bad_shapes():
    with pytest.raises(ValueError, match="N at least 1"):
        fisher_vector(jnp.zeros((0, 2)), jnp.ones(1), jnp.ones((1, 2)), jnp.ones((1, 2)))
