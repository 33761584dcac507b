"""Orthonormal columns: the Q of a QR decomposition, and no LAPACK call on a CPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.ops import orthonormal_columns


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (64, 5), (64, 64)])
def test_it_is_the_q_of_numpy_with_a_positive_diagonal(shape):
    x = np.random.default_rng(0).normal(size=shape)
    q, r = np.linalg.qr(x)
    ours = jax.jit(orthonormal_columns)(jnp.float32(x))
    np.testing.assert_allclose(ours, q * np.sign(np.diag(r)), atol=5e-5)
    np.testing.assert_allclose(ours.T @ ours, np.eye(shape[1]), atol=2e-6)


def test_columns_that_almost_agree_are_orthonormal_too():
    # One pass of Gram-Schmidt leaves an inner product of about 1e-7 / 1e-4 = 1e-3 here.
    x = jnp.ones((50, 1)) + 1e-4 * jax.random.normal(jax.random.key(0), (50, 8))
    q = orthonormal_columns(x)
    np.testing.assert_allclose(q.T @ q, np.eye(8), atol=2e-6)


def test_a_batch_has_no_lapack_call_on_a_cpu():
    """Several in one program can wait for each other's threads forever."""
    lowered = jax.jit(jax.vmap(orthonormal_columns)).trace(jnp.ones((2, 4, 3)))
    assert "lapack" not in lowered.lower(lowering_platforms=("cpu",)).as_text()
    assert "lapack" in jax.jit(jax.vmap(lambda x: jnp.linalg.qr(x)[0])).lower(jnp.ones((2, 4, 3))).as_text()
