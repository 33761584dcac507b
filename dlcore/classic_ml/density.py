"""Densities fitted to points: one Gaussian (maximum likelihood, maximum a posteriori), or one kernel at every point.

Rosenblatt 1956 and Parzen 1962 (kernels); Murphy 2012, section 4.6.3 (the prior).

    MLE   mean = Σ x / N,   covariance = S / N,   S = Σ (x - mean)(x - mean)^T
    MAP   prior N(m | m0, C / k0) IW(C | P0, v0):   mean = (k0 m0 + Σ x) / (k0 + N)
          covariance = (P0 + S + k0 N / (k0 + N) (mean_x - m0)(mean_x - m0)^T) / (v0 + N + D + 2)
    KDE   log p(x) = log Σ_n exp(-|x - x_n|^2 / 2h^2) - log N - D log(h sqrt(2π))

MAP is the mode of the joint posterior of mean and covariance. It is a density even with fewer points than dimensions,
where the MLE is singular. Mixtures are in `mixture`.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlcore.choices import check_whole_number
from dlcore.classic_ml.points import check_points, squared_distances
from dlcore.ops.checks import check_finite, check_range, check_shapes
from dlcore.ops.precision import add_center, centered, to_acc_dtype

__all__ = [
    "Gaussian",
    "Prior",
    "gaussian_log_density",
    "gaussian_map",
    "gaussian_mle",
    "kernel_log_density",
    "skewness",
]

_BLOCK = 1024


class Gaussian(NamedTuple):
    """A multivariate normal distribution.

    Args:
      mean: [D], NumPy's float64 where points of the host have 64 bits.
      covariance: [D, D].
    """

    mean: jax.Array
    covariance: jax.Array


class Prior(NamedTuple):
    """The normal-inverse-Wishart prior of a Gaussian.

    Args:
      mean: [D], m0 above.
      strength: k0, the number of points that the prior mean is worth, at least 0.
      scatter: [D, D], P0.
      degrees: v0, degrees of freedom, above D - 1.
    """

    mean: jax.Array
    strength: float
    scatter: jax.Array
    degrees: float


def gaussian_mle(x: Any) -> Gaussian:
    """Fit a Gaussian by maximum likelihood.

    Args:
      x: [N, D], finite.

    Returns:
      The Gaussian under which x is most likely.
    """
    check_points("x", x)
    x, center = centered(x)
    return Gaussian(add_center(x.mean(0), center), _scatter(x) / len(x))


def gaussian_map(x: Any, prior: Prior) -> Gaussian:
    """Fit a Gaussian by maximum a posteriori.

    Args:
      x: [N, D], finite.
      prior: normal-inverse-Wishart.

    Returns:
      The most probable Gaussian given x.
    """
    points, prior_mean, x = x, prior.mean, check_points("x", x)
    dim = x.shape[1]
    prior = prior._replace(mean=jnp.asarray(prior.mean, x.dtype), scatter=jnp.asarray(prior.scatter, x.dtype))
    if prior.mean.shape != (dim,) or prior.scatter.shape != (dim, dim):
        raise ValueError(
            f"prior.mean.shape={prior.mean.shape} and prior.scatter.shape={prior.scatter.shape}: do not fit x; "
            f"allowed: ({dim},) and ({dim}, {dim})"
        )
    check_finite("prior.mean", prior.mean)
    check_finite("prior.scatter", prior.scatter)
    check_range("prior.scatter, diagonal", jnp.diagonal(prior.scatter), 0)
    for name, value in (("prior.strength", prior.strength), ("prior.degrees", prior.degrees)):
        check_shapes(**{name: (value, "")})
    if not 0 <= prior.strength < jnp.inf or not dim - 1 < prior.degrees < jnp.inf:
        raise ValueError(
            f"prior.strength={prior.strength} and prior.degrees={prior.degrees}: out of range; "
            f"allowed: finite, >= 0 and > {dim - 1}"
        )
    x, mean, center = centered(points, prior_mean)
    gaussian = _gaussian_map(x, prior._replace(mean=mean))
    return gaussian._replace(mean=add_center(gaussian.mean, center))


def gaussian_log_density(x: jax.Array, gaussian: Gaussian) -> jax.Array:
    """Log-density of points under a Gaussian.

    Args:
      x: [N, D].
      gaussian: Gaussian in D dimensions.

    Returns:
      [N], log N(x | mean, covariance); NaN if the covariance is not positive definite.
    """
    check_shapes(x=(x, "N D"), mean=(gaussian.mean, "D"), covariance=(gaussian.covariance, "D D"))
    x, mean, _ = centered(x, gaussian.mean)
    return _gaussian_log_density(x, Gaussian(mean, to_acc_dtype(gaussian.covariance)))


@jax.jit
def _gaussian_log_density(x, gaussian):
    factor = jnp.linalg.cholesky(gaussian.covariance)
    # The squared Mahalanobis distance is |L⁻¹ (x - mean)|², L the Cholesky factor.
    z = jax.scipy.linalg.solve_triangular(factor, (x - gaussian.mean).T, lower=True)  # [D, N]
    log_det = 2 * jnp.log(jnp.diagonal(factor)).sum()
    return -0.5 * (jnp.square(z).sum(0) + log_det + x.shape[1] * jnp.log(2 * jnp.pi))


def kernel_log_density(queries: Any, x: Any, bandwidth: float, *, block: int = _BLOCK) -> jax.Array:
    """Log-density of points under a kernel density estimate with Gaussian kernels.

    Args:
      queries: [M, D], points to evaluate at.
      x: [N, D], centers of the kernels.
      bandwidth: standard deviation of a kernel, in units of x.
      block: queries at a time; memory is [block, N].

    Returns:
      [M], log p of each query.
    """
    check_points("queries", queries, dim=check_points("x", x).shape[1])
    check_shapes(bandwidth=(bandwidth, "> 0"))
    check_finite("bandwidth", bandwidth)
    check_whole_number("block", block, 1)
    x, queries, _ = centered(x, queries)
    return _kernel_log_density(queries, x, bandwidth, block)


def skewness(x: Any) -> jax.Array:
    """Skewness of every column, E[((x - mean) / std)^3].

    Args:
      x: [N, D], finite.

    Returns:
      [D]; 0 for symmetric and for constant columns.
    """
    check_points("x", x)
    return _skewness(centered(x)[0])


@functools.partial(jax.jit, static_argnums=3)
def _kernel_log_density(queries, x, bandwidth, block):
    def one(query):
        squared = squared_distances(query[None], x)[0]
        nearest = squared.min()  # subtracted first: far away, squares over a variance have no fractions left
        return jax.nn.logsumexp((nearest - squared) / (2 * bandwidth**2)) - nearest / (2 * bandwidth**2)

    constant = jnp.log(len(x)) + x.shape[1] * jnp.log(bandwidth * jnp.sqrt(2 * jnp.pi))
    return jax.lax.map(one, queries, batch_size=min(block, len(queries))) - constant


@jax.jit
def _gaussian_map(x, prior):
    n, dim = x.shape
    total = prior.strength + n
    away = x.mean(0) - prior.mean
    # The posterior adds the prior's scatter, the data's, and that between both means.
    spread = prior.scatter + _scatter(x) + prior.strength * n / total * jnp.outer(away, away)
    return Gaussian((prior.strength * prior.mean + x.sum(0)) / total, spread / (prior.degrees + n + dim + 2))


@jax.jit
def _skewness(x):
    z = x - x.mean(0)
    std = jnp.sqrt(jnp.square(z).mean(0))
    return ((z / jnp.where(std > 0, std, 1)) ** 3).mean(0)


def _scatter(x):
    x = x - x.mean(0)
    return jnp.matmul(x.T, x, precision=jax.lax.Precision.HIGHEST)
