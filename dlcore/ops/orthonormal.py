"""Orthonormal columns without LAPACK, for programs that compute many at once.

Gram-Schmidt, column by column: v_j = x_j - Q (Q^T x_j), q_j = v_j / |v_j|. The subtraction is done twice, which makes
Q^T Q = I hold to rounding (Giraud, Langou, Rozloznik & van den Eshof 2005, "twice is enough"). Q is the factor of the
QR decomposition whose R has a positive diagonal, which is unique.

jaxlib's LAPACK calls on a batch of matrices hand their work to the thread pool that they run on. Several of them in one
program, such as the orthogonal kernels of a network that is initialized under `vmap`, can take all threads and wait for
each other forever: with jaxlib 0.10 on two cores, the `init` of a vmapped actor-critic hung in one call of about fifty.
Accelerators use jax's QR decomposition.
"""

import jax
import jax.numpy as jnp
from jax import lax

from dlcore.ops.precision import to_acc_dtype

__all__ = ["orthonormal_columns"]


def orthonormal_columns(x: jax.Array) -> jax.Array:
    """Orthonormalize the columns of a matrix by Gram-Schmidt.

    Args:
      x: [N, M], N >= M, of full rank.

    Returns:
      [N, M]: Q of x = Q R, R upper triangular with a positive diagonal.
    """
    if x.ndim != 2 or x.shape[0] < x.shape[1]:
        raise ValueError(f"x.shape={x.shape}: wrong shape; allowed: [N, M] with N >= M")
    x = to_acc_dtype(x)
    return lax.platform_dependent(x, cpu=_gram_schmidt, default=_qr)


def _gram_schmidt(x: jax.Array) -> jax.Array:
    def step(q, x_j):
        column, j = x_j
        for _ in range(2):
            column = column - jnp.matmul(q, jnp.matmul(column, q, precision="highest"), precision="highest")
        return q.at[:, j].set(column / jnp.sqrt(jnp.square(column).sum())), None

    return lax.scan(step, jnp.zeros_like(x), (x.T, jnp.arange(x.shape[1])))[0]


def _qr(x: jax.Array) -> jax.Array:
    q, r = jnp.linalg.qr(x)
    return q * jnp.sign(jnp.diagonal(r))
