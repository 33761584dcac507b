"""t-SNE: an embedding in which near points stay near.

van der Maaten & Hinton 2008, "Visualizing Data using t-SNE", JMLR 9.

    p_(j|i) ∝ exp(-β_i |x_i - x_j|^2), β_i such that its entropy is log(perplexity);  p_ij = (p_(j|i) + p_(i|j)) / 2N
    q_ij    ∝ 1 / (1 + |y_i - y_j|^2)
    KL      = Σ p_ij log(p_ij / q_ij)
    dKL/dy_i = 4 Σ_j (p_ij - q_ij) (y_i - y_j) / (1 + |y_i - y_j|^2)

β comes from bisection of all rows at once. Descent is that of the authors' program: p is multiplied by 12 for the first
250 steps, momentum is 0.5 during them and 0.8 after, and each number has a gain that grows while its direction stays.
The learning rate is max(N / 48, 50) (Belkina et al. 2019, as in scikit-learn), and the start is PCA with standard
deviation 1e-4 (Kobak & Berens 2019), so the embedding depends on no seed. Exact: [N, N] tables, for some thousands of
points.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.classic_ml.pca import fit_svd
from dlcore.classic_ml.points import check_points, squared_distances
from dlcore.ops.checks import check_finite, check_range, check_shapes
from dlcore.ops.precision import centered, to_acc_dtype

__all__ = ["TSNE", "affinities", "conditional_affinities", "kl_divergence", "tsne"]

_TINY = 1e-12


class TSNE(NamedTuple):
    """Result of t-SNE.

    Args:
      embedding: [N, num_components].
      kl: [steps / record_every], the divergence from p (not exaggerated) during the descent.
    """

    embedding: jax.Array
    kl: jax.Array


def tsne(
    x: Any,
    *,
    perplexity: float = 30.0,
    num_components: int = 2,
    steps: int = 1000,
    exaggeration: float = 12.0,
    exaggerated_steps: int = 250,
    learning_rate: float | None = None,
    record_every: int = 50,
) -> TSNE:
    """Embed points by exact t-SNE.

    Args:
      x: [N, D], finite, N at least 4.
      perplexity: effective number of neighbors, in (1, N - 1).
      num_components: dimensions of the embedding.
      steps: number of steps of gradient descent.
      exaggeration: factor on p in the first steps.
      exaggerated_steps: number of those steps.
      learning_rate: learning rate of the descent; None takes max(N / (4 exaggeration), 50).
      record_every: steps between recorded divergences; divides `steps`.

    Returns:
      TSNE.
    """
    for name, value in (("exaggeration", exaggeration), ("learning_rate", learning_rate)):
        if value is not None or name == "exaggeration":
            check_shapes(**{name: (value, "> 0")})
            check_finite(name, value)
    check_whole_number("steps", steps)
    check_whole_number("record_every", record_every)
    check_whole_number("num_components", num_components)
    check_whole_number("exaggerated_steps", exaggerated_steps, 0)
    if steps < 1 or record_every < 1 or steps % record_every:
        raise ValueError(f"steps={steps}: out of range; allowed: a positive multiple of record_every={record_every}")
    p = affinities(x, perplexity)  # [N, N]
    x = np.asarray(x)
    # Start from principal components, scaled down, so that the embedding depends on no seed.
    start = fit_svd(x, num_components)(np.asarray(x, np.float64))
    start = jnp.asarray(1e-4 * start / (start[:, 0].std() or 1.0), p.dtype)
    step_size = max(len(x) / (4 * exaggeration), 50.0) if learning_rate is None else learning_rate
    return _descend(p, start, step_size, exaggeration, exaggerated_steps, steps // record_every, record_every)


def affinities(x: Any, perplexity: float = 30.0) -> jax.Array:
    """Compute the joint probabilities p_ij of neighbors.

    Args:
      x: [N, D], finite, N at least 4.
      perplexity: effective number of neighbors, in (1, N - 1).

    Returns:
      [N, N], symmetric with sum 1 and diagonal 0.
    """
    check_points("x", x, least=4)
    check_shapes(perplexity=(perplexity, ""))
    check_finite("perplexity", perplexity)
    if not 1 < perplexity < len(x) - 1:
        raise ValueError(f"perplexity={perplexity}: out of range; allowed: (1, {len(x) - 1})")
    return _affinities(centered(x)[0], perplexity)


@jax.jit
def _affinities(x, perplexity):
    conditional = _conditional_affinities(squared_distances(x, x), perplexity)
    return (conditional + conditional.T) / (2 * len(x))


def conditional_affinities(squared: jax.Array, perplexity: float | jax.Array) -> jax.Array:
    """Compute the conditional probabilities p_(j|i) at which e^entropy of each row is the perplexity.

    Args:
      squared: [N, N], squared distances.
      perplexity: effective number of neighbors.

    Returns:
      [N, N], rows that sum to 1, diagonal 0.
    """
    check_shapes(squared=(squared, "N N finite"))
    n = len(squared)
    if n < 2:
        raise ValueError(f"squared.shape={np.shape(squared)}: no neighbors; allowed: [N, N] with N of at least 2")
    check_shapes(perplexity=(perplexity, f"1 to {n - 1}"))
    return _conditional_affinities(to_acc_dtype(squared), perplexity)


@jax.jit
def _conditional_affinities(squared, perplexity):
    n = len(squared)
    # Subtracting the nearest distance changes no probability and avoids underflow.
    squared = squared - jnp.where(jnp.eye(n, dtype=bool), jnp.inf, squared).min(1, keepdims=True)
    total = jnp.where(jnp.eye(n, dtype=bool), 0, squared).sum(1, keepdims=True)
    squared = squared / jnp.where(total > 0, total / n, 1)

    def row(log_beta):
        return jax.nn.softmax(jnp.where(jnp.eye(n, dtype=bool), -jnp.inf, -jnp.exp(log_beta)[:, None] * squared))

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) / 2
        # Bisection: a higher entropy than log perplexity asks for a larger beta.
        too_flat = jax.scipy.special.entr(row(middle)).sum(1) > jnp.log(perplexity)
        return jnp.where(too_flat, middle, low), jnp.where(too_flat, high, middle)

    # Far groups make the mean distance large beside the nearest: beta may be as large as float32 holds.
    bounds = jax.lax.fori_loop(0, 50, halve, (jnp.full(n, -30.0, squared.dtype), jnp.full(n, 80.0, squared.dtype)))
    return row(sum(bounds) / 2)


def kl_divergence(p: jax.Array, y: jax.Array) -> jax.Array:
    """KL divergence Σ p_ij log(p_ij / q_ij) of an embedding.

    Args:
      p: [N, N], of `affinities`.
      y: [N, K], the embedding.

    Returns:
      The divergence in nats.
    """
    check_shapes(p=(p, "N N"), y=(y, "N K"))
    if len(p) < 2:
        raise ValueError(f"p.shape={np.shape(p)}: no pair; allowed: [N, N] with N of at least 2")
    check_range("p", p, 0, 1)
    return _kl_divergence(to_acc_dtype(p), centered(y)[0])


@jax.jit
def _kl_divergence(p, y):
    near = _student(y)
    q = jnp.maximum(near / near.sum(), _TINY)
    return jnp.where(p > 0, p * (jnp.log(jnp.maximum(p, _TINY)) - jnp.log(q)), 0).sum()


def _student(y):
    return jnp.where(jnp.eye(len(y), dtype=bool), 0, 1 / (1 + squared_distances(y, y)))


def _gradient(p, y):
    """Return the sum over j of w_ij (y_i - y_j) is (Σ_j w_ij) y_i - (w y)_i."""
    near = _student(y)
    # Attraction by p, repulsion by q, both weighted by the Student kernel.
    w = (p - near / near.sum()) * near
    return 4 * (w.sum(1)[:, None] * y - jnp.matmul(w, y, precision=jax.lax.Precision.HIGHEST))


@functools.partial(jax.jit, static_argnums=(5, 6))
def _descend(p, start, learning_rate, exaggeration, exaggerated_steps, parts, record_every) -> TSNE:
    def step(carry, i):
        y, velocity, gain = carry
        early = i < exaggerated_steps
        # Early exaggeration lets clusters form before they repel each other.
        slope = _gradient(p * jnp.where(early, exaggeration, 1), y)
        # Jacobs' gains: larger where the gradient keeps its direction.
        gain = jnp.maximum(jnp.where(slope * velocity < 0, gain + 0.2, gain * 0.8), 0.01)
        velocity = jnp.where(early, 0.5, 0.8) * velocity - learning_rate * gain * slope
        y = y + velocity
        return (y - y.mean(0), velocity, gain), None

    def part(carry, first):
        carry, _ = jax.lax.scan(step, carry, first + jnp.arange(record_every))
        return carry, _kl_divergence(p, carry[0])

    begin = (start, jnp.zeros_like(start), jnp.ones_like(start))
    (y, _, _), kl = jax.lax.scan(part, begin, jnp.arange(parts) * record_every)
    return TSNE(y, kl)
