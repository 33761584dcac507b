"""The Kalman filter and smoother: the posterior of a linear Gaussian state-space model.

Kalman 1960; Rauch, Tung & Striebel 1965; Bucy & Joseph 1968.

    model      x_1 ~ N(m, P),  x_t = F x_{t-1} + w,  y_t = H x_t + n,  w ~ N(0, Q),  n ~ N(0, R)
    predict    m- = F m,  P- = F P F^T + Q                               before y_t is seen, from the second step on
    update     S = H P- H^T + R,  K = P- H^T S^-1,  m = m- + K (y_t - H m-)
               P = (I - K H) P- (I - K H)^T + K R K^T                    Joseph's form: symmetric and positive
    smoother   G = P_t F^T (P-_{t+1})^-1,  m_t += G (m_{t+1} - m-_{t+1}),
               P_t += G (P_{t+1} - P-_{t+1}) G^T                         backwards in time

Like a recurrent network it carries a state from step to step; unlike one it must know the model, and it says how sure
it is. For the model that it knows, no other estimate has a smaller squared error.
"""

from typing import NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_finite, check_range, check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["Filtered", "LinearGaussian", "constant_velocity", "kalman_filter", "kalman_smoother"]


class LinearGaussian(NamedTuple):
    """A linear model of a state of D numbers, of which M are seen.

    Args:
      transition: F, [D, D].
      process_noise: Q, [D, D], covariance.
      emission: H, [M, D].
      observation_noise: R, [M, M], covariance.
      mean: m, [D], of the state at the first observation, before it is seen.
      covariance: P, [D, D], of the same.
    """

    transition: jax.Array
    process_noise: jax.Array
    emission: jax.Array
    observation_noise: jax.Array
    mean: jax.Array
    covariance: jax.Array


class Filtered(NamedTuple):
    """Means and covariances of the filter at each step.

    Args:
      mean: [T, D], after the step's observation.
      covariance: [T, D, D].
      predicted_mean: [T, D], before it.
      predicted_covariance: [T, D, D].
      log_likelihood: [], of all observations, in nats.
    """

    mean: jax.Array
    covariance: jax.Array
    predicted_mean: jax.Array
    predicted_covariance: jax.Array
    log_likelihood: jax.Array


def constant_velocity(
    drift: float, noise: float = 1.0, start: tuple[float, float] = (10.0, 1.0), dimensions: int = 2
) -> LinearGaussian:
    """Model a point that moves straight on but for small pushes: v' = v + q w, p' = p + v + q w / 2.

    Args:
      drift: q, standard deviation of the velocity's change in a step.
      noise: standard deviation of a seen position.
      start: standard deviations of position and velocity at the first step.
      dimensions: d of the space.

    Returns:
      The model of the state (position [d], velocity [d]).
    """
    if np.shape(start) != (2,):
        raise ValueError(f"start={start}: not two deviations; allowed: (of the position, of the velocity)")
    check_shapes(drift=(drift, ">= 0"), noise=(noise, ">= 0"))
    check_range("start", start, 0)
    for name, value in (("drift", drift), ("noise", noise), ("start", start)):
        check_finite(name, value)
    check_whole_number("dimensions", dimensions, 1)
    eye = np.eye(dimensions)
    push = drift * np.concatenate([eye / 2, eye])
    return LinearGaussian(
        np.block([[eye, eye], [0 * eye, eye]]),
        push @ push.T,
        np.concatenate([eye, 0 * eye], 1),
        noise**2 * eye,
        np.zeros(2 * dimensions),
        np.diag(np.repeat(np.square(start), dimensions)),
    )


def kalman_filter(model: LinearGaussian, observations: jax.Array) -> Filtered:
    """Estimate the state at each step from the observations up to it.

    Args:
      model: model of state and observations.
      observations: [T, M].

    Returns:
      The estimates, in the precision of the observations, at least float32.
    """
    model, observations = _arrays(model, observations)
    f, q, h, r, mean, covariance = model
    if observations.ndim != 2 or observations.shape[1] != len(h):
        raise ValueError(f"observations.shape={observations.shape}: wrong shape; allowed: [T, {len(h)}]")
    if not len(observations):
        raise ValueError(f"observations={list(observations.shape)}: no steps; allowed: at least one")
    check_finite("observations", observations)
    eye = jnp.eye(len(mean), dtype=mean.dtype)

    def step(before, y):
        m, p = before
        residual, s = y - h @ m, h @ p @ h.T + r
        factor = jax.scipy.linalg.cho_factor(s, lower=True)
        # one solve for both right-hand sides: two independent LAPACK calls of a batch can wait for each other forever
        solved = jax.scipy.linalg.cho_solve(factor, jnp.concatenate([h @ p, residual[:, None]], 1))
        # Update by the observation.
        gain = solved[:, :-1].T
        log_det = 2 * jnp.log(jnp.diagonal(factor[0])).sum()
        square = residual @ solved[:, -1]
        # Negative log-likelihood of the observation.
        nats = (square + log_det + len(y) * jnp.log(2 * jnp.pi)) / 2
        rest = eye - gain @ h
        # Joseph form: the covariance stays symmetric and positive.
        after = m + gain @ residual, rest @ p @ rest.T + gain @ r @ gain.T
        # Predict the next state.
        return (f @ after[0], f @ after[1] @ f.T + q), (*after, m, p, -nats)

    _, (*estimates, log_likelihoods) = jax.lax.scan(step, (mean, covariance), observations)
    return Filtered(*estimates, log_likelihoods.sum())


def kalman_smoother(model: LinearGaussian, filtered: Filtered) -> tuple[jax.Array, jax.Array]:
    """Estimate the state at each step from all observations.

    Args:
      model: as for the filter.
      filtered: result of `kalman_filter`.

    Returns:
      (means [T, D], covariances [T, D, D]).
    """
    if not len(filtered.mean):
        raise ValueError("filtered: no steps; allowed: at least one")
    check_shapes(
        transition=(model.transition, "D D"),
        mean=(filtered.mean, "T D"),
        covariance=(filtered.covariance, "T D D"),
        predicted_mean=(filtered.predicted_mean, "T D"),
        predicted_covariance=(filtered.predicted_covariance, "T D D"),
    )
    f = _arrays(model, filtered.mean)[0].transition

    def step(later, inputs):
        m, p, next_m, next_p = inputs
        # Rauch-Tung-Striebel, backwards in time.
        gain = jnp.linalg.solve(next_p, f @ p).T
        smoothed = m + gain @ (later[0] - next_m), p + gain @ (later[1] - next_p) @ gain.T
        return smoothed, smoothed

    last = filtered.mean[-1], filtered.covariance[-1]
    inputs = (
        filtered.mean[:-1],
        filtered.covariance[:-1],
        filtered.predicted_mean[1:],
        filtered.predicted_covariance[1:],
    )
    _, smoothed = jax.lax.scan(step, last, inputs, reverse=True)
    return tuple(jnp.concatenate([s, end[None]]) for s, end in zip(smoothed, last, strict=True))


def _check_covariance(name: str, matrix: np.ndarray) -> None:
    """Refuse a matrix that no covariance is; rounding may take an eigenvalue of 0 a little below it."""
    slack = 1e-4 * max(float(np.abs(matrix).max()), 1e-30)
    if np.abs(matrix - matrix.T).max() > slack:
        raise ValueError(f"{name}: not symmetric; allowed: covariances")
    if (least := np.linalg.eigvalsh(matrix)[0]) < -slack:
        raise ValueError(f"{name}: an eigenvalue of {least:g}; allowed: covariances, whose eigenvalues are at least 0")


def _arrays(model: LinearGaussian, like: jax.Array) -> tuple[LinearGaussian, jax.Array]:
    like = to_acc_dtype(like)
    check_shapes(
        mean=(model.mean, "D"),
        transition=(model.transition, "D D"),
        process_noise=(model.process_noise, "D D"),
        emission=(model.emission, "M D"),
        observation_noise=(model.observation_noise, "M M"),
        covariance=(model.covariance, "D D"),
    )
    check_finite("transition", model.transition)
    for name in ("process_noise", "observation_noise", "covariance"):
        matrix = getattr(model, name)
        if not isinstance(matrix, jax.core.Tracer):
            check_range(f"{name}: variances", np.diagonal(np.asarray(matrix)), 0)
            check_finite(name, matrix)
            _check_covariance(name, np.asarray(matrix, np.float64))
    return jax.tree.map(lambda v: jnp.asarray(v, like.dtype), model), like
