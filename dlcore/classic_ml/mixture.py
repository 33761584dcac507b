"""A mixture of Gaussians, fitted by expectation maximization.

Dempster, Laird & Rubin 1977.

    p(x)  = Σ_k π_k N(x | μ_k, Σ_k)
    E     r_nk = π_k N(x_n | μ_k, Σ_k) / p(x_n)
    M     N_k = Σ_n r_nk,  π_k = N_k / N,  μ_k = Σ_n r_nk x_n / N_k,
          Σ_k = Σ_n r_nk (x_n - μ_k)(x_n - μ_k)^T / N_k + ε I

The diagonal kind keeps the diagonals of Σ_k alone. No step lowers Σ log p(x_n) while ε, scikit-learn's `reg_covar`,
which keeps a component from collapsing onto one point, is small. Where columns depend on each other, Σ_k is singular
but for ε, 1e-10 of the variances in data of hundreds: fits compute in float64, and give NumPy's float64.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.classic_ml.density import Gaussian, gaussian_log_density
from dlcore.classic_ml.points import check_points
from dlcore.ops.checks import check_finite, check_probabilities, check_shapes
from dlcore.ops.precision import acc_dtype_of, add_center, centered, to_acc_dtype, to_namespace

__all__ = [
    "Mixture",
    "MixtureFit",
    "bic",
    "fit_mixture",
    "log_density",
    "mixture_step",
    "responsibilities",
    "start_from",
]


class Mixture(NamedTuple):
    """A mixture of K Gaussians.

    Args:
      weights: [K], sum to 1.
      means: [K, D].
      covariances: [K, D, D].
    """

    weights: jax.Array
    means: jax.Array
    covariances: jax.Array


class MixtureFit(NamedTuple):
    """Result of expectation maximization.

    Args:
      mixture: after the last iteration.
      log_likelihood: [iterations + 1], the mean of log p(x_n) before each iteration and after the last.
    """

    mixture: Mixture
    log_likelihood: jax.Array


def start_from(means: Any, variance: float = 1.0) -> Mixture:
    """Make an initial mixture of spherical components with equal weights.

    Args:
      means: [K, D].
      variance: variance of every component in every direction, positive.

    Returns:
      Mixture.
    """
    dtype = check_points("means", means).dtype
    check_shapes(variance=(variance, "> 0"))
    check_finite("variance", variance)
    _, means = to_namespace(means)
    count, dim = means.shape
    covariances = jnp.broadcast_to(variance * jnp.eye(dim, dtype=dtype), (count, dim, dim))
    return Mixture(jnp.full(count, 1 / count, dtype), means, covariances)


def fit_mixture(
    x: Any, start: Mixture, *, iterations: int = 100, epsilon: float | None = None, diagonal: bool = False
) -> MixtureFit:
    """Fit a mixture of Gaussians by EM.

    Args:
      x: [N, D], finite.
      start: initial mixture, for example of `start_from`.
      iterations: number of iterations of EM.
      epsilon: added to the variances in each M step, in squared units of x; None adds 1e-6, but to each column at least
        1e-12 and at most 1e-4 of its variance in x.
      diagonal: keep the axes of each component along those of x: D variances in place of D (D + 1) / 2 numbers.

    Returns:
      MixtureFit.
    """
    check_points("x", x, dim=np.shape(start.means)[-1])
    check_whole_number("iterations", iterations, 1)
    if epsilon is not None:
        check_shapes(epsilon=(epsilon, ">= 0"))
        check_finite("epsilon", epsilon)
    check_shapes(
        weights=(start.weights, "K"), means=(start.means, "K D finite"), covariances=(start.covariances, "K D D")
    )
    check_probabilities("start.weights", start.weights)
    variances = np.diagonal(np.asarray(start.covariances), axis1=1, axis2=2)
    check_shapes(**{"start.covariances, diagonal": (variances, "... > 0")})
    with jax.enable_x64(True):
        x, start, center = _to_center(*_in_float64(x, start))
        variance = x.var(0)
        scaled = jnp.where(variance > 0, jnp.clip(1e-6, 1e-12 * variance, 1e-4 * variance), 1e-6)
        mixture, values = _fit(x, start, iterations, scaled if epsilon is None else epsilon, diagonal)
        fit = MixtureFit(mixture._replace(means=mixture.means + center), values)
    if not np.isfinite(fit.log_likelihood).all():
        raise ValueError(f"epsilon={epsilon}: a covariance is singular; allowed: larger ones, or None")
    return jax.tree.map(np.asarray, fit)


def log_density(x: jax.Array, mixture: Mixture) -> jax.Array:
    """Log-density of points under a mixture.

    Args:
      x: [N, D].
      mixture: mixture in D dimensions.

    Returns:
      [N], log p(x).
    """
    _check(x, mixture)
    return _evaluated(_log_density, x, mixture)


def responsibilities(x: jax.Array, mixture: Mixture) -> jax.Array:
    """Posterior probability of each component for each point, r_nk.

    Args:
      x: [N, D].
      mixture: mixture in D dimensions.

    Returns:
      [N, K], rows that sum to 1.
    """
    _check(x, mixture)
    return _evaluated(_responsibilities, x, mixture)


def mixture_step(
    x: jax.Array, mixture: Mixture, epsilon: float | jax.Array = 1e-6, diagonal: bool = False
) -> tuple[Mixture, jax.Array]:
    """Run one E and one M step.

    Args:
      x: [N, D].
      mixture: mixture in D dimensions.
      epsilon: added to the variances.
      diagonal: keep the diagonals of the covariances alone.

    Returns:
      (the next mixture, the mean log-likelihood of the present one).
    """
    _check(x, mixture)
    if not len(x):
        raise ValueError(f"x.shape={np.shape(x)}: empty; allowed: at least one point")
    check_shapes(epsilon=(epsilon, ">= 0"))
    check_finite("epsilon", epsilon)
    x, mixture, center = _to_center(x, mixture)
    mixture, value = _step(x, mixture, epsilon, diagonal)
    return mixture._replace(means=add_center(mixture.means, center)), value


@functools.partial(jax.jit, static_argnames="diagonal")
def _step(x, mixture, epsilon, diagonal):
    joint = _joint(x, mixture)
    # E step: responsibilities.
    r = jax.nn.softmax(joint, axis=1)  # [N, K]
    # M step: weighted means and covariances.
    mass = jnp.maximum(r.sum(0), 1e-10)
    means = jnp.matmul(r.T, x, precision=jax.lax.Precision.HIGHEST) / mass[:, None]

    def covariance(weight, mean, mass):
        away = x - mean
        if diagonal:
            spread = jnp.diag((weight[:, None] * jnp.square(away)).sum(0))
        else:
            spread = jnp.matmul((weight[:, None] * away).T, away, precision=jax.lax.Precision.HIGHEST)
        # Epsilon keeps a component from collapsing onto one point.
        return spread / mass + jnp.diag(jnp.broadcast_to(epsilon, x.shape[1:]))

    # One component at a time, so that memory is O(N D).
    covariances = jax.lax.map(lambda args: covariance(*args), (r.T, means, mass))
    return Mixture(mass / mass.sum(), means, covariances), jax.nn.logsumexp(joint, axis=1).mean()


def bic(x: jax.Array, mixture: Mixture, diagonal: bool = False) -> jax.Array:
    """Bayesian information criterion, -2 Σ log p + (number of free parameters) log N; smaller is better.

    Args:
      x: [N, D].
      mixture: fitted to x.
      diagonal: whether it was fitted so, with fewer free parameters.

    Returns:
      The criterion, a scalar.
    """
    _check(x, mixture)
    if not len(x):
        raise ValueError(f"x.shape={np.shape(x)}: empty; allowed: at least one point")
    return _evaluated(_bic, x, mixture, diagonal)


@jax.jit
def _log_density(x, mixture):
    return jax.nn.logsumexp(_joint(x, mixture), axis=1)


@jax.jit
def _responsibilities(x, mixture):
    return jax.nn.softmax(_joint(x, mixture), axis=1)


@functools.partial(jax.jit, static_argnames="diagonal")
def _bic(x, mixture, diagonal):
    count, dim = mixture.means.shape
    free = count - 1 + count * dim + count * (dim if diagonal else dim * (dim + 1) // 2)
    return -2 * _log_density(x, mixture).sum() + free * jnp.log(len(x))


def _check(x, mixture):
    check_shapes(
        x=(x, "N D"),
        weights=(mixture.weights, "K"),
        means=(mixture.means, "K D"),
        covariances=(mixture.covariances, "K D D"),
    )
    check_probabilities("mixture.weights", mixture.weights)


def _to_center(x, mixture):
    x, means, center = centered(x, mixture.means)
    return x, Mixture(to_acc_dtype(mixture.weights), means, to_acc_dtype(mixture.covariances)), center


def _in_float64(x, mixture):
    return np.asarray(x, np.float64), Mixture(*(np.asarray(leaf, np.float64) for leaf in mixture))


def _evaluated(function, x, mixture, *settings):
    """Apply a function of points and a mixture, in float64 outside of jit, for nearly singular covariances."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in (x, *mixture)):
        return function(*_to_center(x, mixture)[:2], *settings)
    dtype = acc_dtype_of(x)
    with jax.enable_x64(True):
        return function(*_to_center(*_in_float64(x, mixture))[:2], *settings).astype(dtype)


def _joint(x, mixture):
    """log(π_k N(x | μ_k, Σ_k)): [N, K]."""
    log_densities = jax.vmap(lambda mean, cov: gaussian_log_density(x, Gaussian(mean, cov)))
    return jnp.log(mixture.weights) + log_densities(mixture.means, mixture.covariances).T


@functools.partial(jax.jit, static_argnums=(2, 4))
def _fit(x, start, iterations, epsilon, diagonal):
    def step(mixture, _):
        return _step(x, mixture, epsilon, diagonal)

    mixture, before = jax.lax.scan(step, start, None, length=iterations)
    return mixture, jnp.append(before, _log_density(x, mixture).mean())
