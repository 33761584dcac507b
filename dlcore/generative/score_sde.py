"""Score-based models (score SDE, NCSN): a network learns the gradient of the log density of noisy examples.

Song & Ermon 2019, arXiv:1907.05600 (NCSN, annealed Langevin); Song et al. 2021, arXiv:2011.13456 (score SDE).

    x_t = a(t) x0 + b(t) z,   z ~ N(0, I),   t in (0, 1]: 0 is data, 1 is noise
    VE   a = 1,   b = sigma_min (sigma_max / sigma_min)^t,   dx = b sqrt(2 log(sigma_max / sigma_min)) dw
    VP   a = exp(-t^2 (beta_max - beta_min) / 4 - t beta_min / 2),   b^2 = 1 - a^2
         dx = -beta x / 2 dt + sqrt(beta) dw,   beta = beta_min + t (beta_max - beta_min)
    score s(x, t) = -F(x / sqrt(a^2 + b^2), 1000 t) / b,   L = |b s(x_t, t) + z|^2, averaged over the dimensions

With dx = f dt + g dw the same densities are those of two equations that run from t = 1 to 0:

    sde        dx = (f - g^2 s) dt + g dw,   Euler-Maruyama's steps
    ode        dx / dt = f - g^2 s / 2,   the probability flow
    langevin   x' = x + e s + sqrt(2 e) z,   e = step_size (b / b_min)^2, several times at each of falling levels b (VE)

The probability flow gives the exact log likelihood: d log p(x(t)) / dt = -div (f - g^2 s / 2) along it, so that
log p_0(x(0)) = log p_1(x(1)) + the integral of the divergence from 0 to 1. It starts at t = 1e-5 (VP) or 0 (VE), so
that examples have almost no noise. p_1 is taken as normal. The network F is that of DDPM: it predicts the noise, of an
input of variance 1 at most.
"""

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.generative.denoising import decode_pixels, denoising_learner, encode_pixels, example_noise
from dlcore.generative.diffusion import noise_of
from dlcore.generative.samplers import Noise, walk
from dlcore.generative.schedules import to_acc_dtype
from dlcore.learner import Learner, Range, check_arguments
from dlcore.nn.ode import odeint
from dlcore.ops.checks import check_range, check_shapes

__all__ = [
    "SDE",
    "ScoreSampling",
    "annealed_langevin",
    "flow_log_likelihood",
    "learner",
    "score_loss",
    "score_of",
    "score_sample",
]

Score = Callable[[jax.Array, jax.Array], jax.Array]
"""(x [B, ...], t [] or [B]) -> gradient of log p_t at x, [B, ...]."""


class SDE(NamedTuple):
    """How noise rises with the time t.

    Args:
      sde: ve (variance exploding: noise is added) or vp (variance preserving: the example fades as well).
      sigma_min: ve: deviation of the noise at t = 0.
      sigma_max: ve: deviation of the noise at t = 1.
      beta_min: vp: rate of the noise at t = 0.
      beta_max: vp: rate of the noise at t = 1.
    """

    sde: Literal["ve", "vp"] = "vp"
    sigma_min: Annotated[float, Range(1e-6)] = 0.01
    sigma_max: Annotated[float, Range(1e-6)] = 50.0
    beta_min: Annotated[float, Range(1e-6)] = 0.1
    beta_max: Annotated[float, Range(1e-6)] = 20.0

    @property
    def first_time(self) -> float:
        """Smallest time, where an example has almost no noise."""
        return 0.0 if self.sde == "ve" else 1e-5

    def check(self) -> None:
        """Check the numbers."""
        check_choice("sde", self.sde, ("ve", "vp"))
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(
                f"sigma_min={self.sigma_min}: out of range; allowed: above 0, below sigma_max={self.sigma_max}"
            )
        if not 0 < self.beta_min < self.beta_max:
            raise ValueError(
                f"beta_min={self.beta_min}: out of range; allowed: above 0, below beta_max={self.beta_max}"
            )

    def marginal(self, t: Any) -> tuple[jax.Array, jax.Array]:
        """Compute the factors of x_t = a x0 + b z: [...] in [0, 1] -> (a, b), both [...], at least float32."""
        check_choice("sde", self.sde, ("ve", "vp"))
        check_range("t", t, 0, 1)
        t = to_acc_dtype(t)
        if self.sde == "ve":
            return jnp.ones_like(t), self.sigma_min * (self.sigma_max / self.sigma_min) ** t
        log_signal = -(t**2) * (self.beta_max - self.beta_min) / 4 - t * self.beta_min / 2
        return jnp.exp(log_signal), jnp.sqrt(-jnp.expm1(2 * log_signal))

    def rates(self, t: Any) -> tuple[jax.Array, jax.Array]:
        """Compute the drift and the squared diffusion of dx = rate x dt + g dw.

        [...] in [0, 1] -> (rate, g^2), both [...], at least float32.
        """
        check_choice("sde", self.sde, ("ve", "vp"))
        check_range("t", t, 0, 1)
        t = to_acc_dtype(t)
        if self.sde == "ve":
            spread = self.marginal(t)[1]
            return jnp.zeros_like(t), 2 * math.log(self.sigma_max / self.sigma_min) * spread**2
        beta = self.beta_min + t * (self.beta_max - self.beta_min)
        return -beta / 2, beta

    def prior_deviation(self) -> float:
        """Return the deviation of the noise at t = 1.

        Returns:
          sigma_max, or 1 for vp.
        """
        return self.sigma_max if self.sde == "ve" else 1.0


class ScoreSampling(NamedTuple):
    """How examples are drawn.

    Args:
      sampler: sde (the reverse equation, with noise), ode (the probability flow) or langevin (levels of ve).
      num_inference_steps: steps in time; levels of langevin.
      langevin_steps: langevin: steps at each level.
      step_size: langevin: e above at the smallest level, in units of its squared deviation.
    """

    sampler: Literal["sde", "ode", "langevin"] = "sde"
    num_inference_steps: Annotated[int, Range(1)] = 200
    langevin_steps: Annotated[int, Range(1)] = 5
    step_size: Annotated[float, Range(1e-9)] = 0.1

    def check(self, sde: SDE) -> None:
        """Check that the sampler belongs to the equation."""
        check_choice("sampler", self.sampler, ("sde", "ode", "langevin"))
        if self.sampler == "langevin" and sde.sde != "ve":
            raise ValueError(f"sampler=langevin: its levels are those of ve, not of sde={sde.sde}; allowed: sde, ode")


def score_of(network: Callable[..., jax.Array], sde: SDE) -> Callable[..., jax.Array]:
    """Turn a network that predicts the noise into the score.

    Args:
      network: F, (scaled x [B, ...], 1000 t, *cond) -> output [B, ...].

    Returns:
      (x [B, ...], t [] or [B], *cond) -> s [B, ...], at least float32.
    """

    def score(x, t, *cond):
        signal, spread = (jnp.reshape(f, (-1, *[1] * (x.ndim - 1))) for f in sde.marginal(t))
        scaled = (x / jnp.sqrt(signal**2 + spread**2)).astype(x.dtype)
        output = to_acc_dtype(network(scaled, 1000 * to_acc_dtype(t), *cond))
        check_shapes(x=(x, "..."), output=(output, "..."))
        return -output / spread

    return score


def score_loss(score: Callable[..., jax.Array], keys: jax.Array, x: jax.Array, sde: SDE, cond: tuple = ()) -> jax.Array:
    """Compute L of each example: denoising score matching, weighted by b^2.

    Args:
      score: (x_t [B, ...], t [B], *cond) -> s [B, ...].
      keys: [B], of the examples.
      x: [B, ...], x0.
      cond: the condition, or () for none.

    Returns:
      [B], at least float32.
    """
    sde.check()
    # A time and noise for each example.
    first = sde.first_time
    t = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 0), minval=first))(keys)  # [B]
    noise = example_noise(keys, x)  # [B, ...]
    signal, spread = (f.reshape(-1, *[1] * (x.ndim - 1)) for f in sde.marginal(t))
    noisy = signal * to_acc_dtype(x) + spread * noise
    slope = score(noisy.astype(x.dtype), t, *cond)
    check_shapes(x=(x, "..."), score=(slope, "..."))
    error = spread * slope + noise
    return jnp.square(error).reshape(x.shape[0], -1).mean(-1)


def score_sample(
    score: Score,
    x: jax.Array,
    noise: Noise,
    sde: SDE,
    *,
    num_steps: int = 200,
    stochastic: bool = True,
    return_trajectory: bool = False,
) -> Any:
    """Draw by the reverse equation or by the probability flow, in even steps of time.

    Args:
      x: [B, ...], noise of the deviation `sde.prior_deviation()`.
      num_steps: number of steps, at least 1.
      stochastic: Euler-Maruyama's steps of the reverse equation; False takes Heun's of the probability flow.
      return_trajectory: return x after every step too.

    Returns:
      The sample [B, ...], of the dtype of x; with `return_trajectory` (sample, [N + 1, B, ...] from x on).
    """
    sde.check()
    check_shapes(num_steps=(num_steps, "int >= 1"))
    dtype = x.dtype

    def velocity(x, t, fraction):
        rate, squared = sde.rates(t)
        return rate * x - fraction * squared * score(x.astype(dtype), t)

    def step(x, extra, k, t, s):
        if not stochastic:
            # Heun: the mean of the velocities at both ends.
            first = velocity(x, t, 0.5)
            return x + (s - t) * (first + velocity(x + (s - t) * first, s, 0.5)) / 2, extra
        mean = x + (s - t) * velocity(x, t, 1.0)
        # The last step adds no noise.
        spread = jnp.where(k < num_steps - 1, jnp.sqrt((t - s) * sde.rates(t)[1]), 0)
        return mean + spread * noise(k), extra

    times = np.linspace(1.0, max(sde.first_time, 1e-3) if sde.sde == "vp" else 0.0, num_steps + 1)
    return walk(step, x, None, times, return_trajectory=return_trajectory)


def annealed_langevin(
    score: Callable[[jax.Array, jax.Array], jax.Array],
    x: jax.Array,
    noise: Noise,
    sigmas: np.ndarray,
    *,
    langevin_steps: int = 5,
    step_size: float = 0.1,
    denoise: bool = True,
) -> jax.Array:
    """Draw by Langevin's steps at falling noise levels.

    Args:
      score: (x [B, ...], index of the level []) -> gradient of the log density of examples with noise of this level.
      x: [B, ...], start.
      noise: draws noise, another for each step.
      sigmas: [L], falling noise levels.
      langevin_steps: steps at each level, at least 1.
      step_size: e at the last level over its squared deviation, above 0; it grows with the squared level.
      denoise: end with x + sigma^2 s, the mean of the examples that x may be.

    Returns:
      The sample [B, ...], of the dtype of x.
    """
    check_shapes(langevin_steps=(langevin_steps, "int >= 1"), step_size=(step_size, "> 0"))
    sigmas = np.asarray(sigmas, np.float64)
    if (
        sigmas.ndim != 1
        or len(sigmas) < 1
        or not (np.diff(sigmas) < 0).all()
        or not 0 < sigmas[-1] <= sigmas[0] < np.inf
    ):
        raise ValueError(f"sigmas={sigmas.tolist()}: do not fall; allowed: falling numbers above 0")
    levels, dtype = jnp.asarray(sigmas, jnp.float32), x.dtype

    def step(x, k):
        level = k // langevin_steps
        size = step_size * levels[level] ** 2
        x = x + size * to_acc_dtype(score(x.astype(dtype), level)) + jnp.sqrt(2 * size) * noise(k)
        return x, None

    x, _ = jax.lax.scan(step, to_acc_dtype(x), jnp.arange(len(sigmas) * langevin_steps))
    if denoise:
        x = x + levels[-1] ** 2 * to_acc_dtype(score(x.astype(dtype), jnp.int32(len(sigmas) - 1)))
    return x.astype(dtype)


def flow_log_likelihood(
    score: Score, x: jax.Array, sde: SDE, *, num_steps: int = 100, probes: jax.Array | None = None
) -> jax.Array:
    """Compute the log likelihood of examples by the probability flow, solved by Runge-Kutta's steps of order 4.

    Steps are even in the logarithm of b / a, the noise over the signal.

    Args:
      x: [B, ...], examples.
      num_steps: number of steps, at least 1.
      probes: [P, B, ...] of mean 0 and variance 1 (signs), for an unbiased estimate of the divergence
        (Hutchinson); None computes it exactly, by one derivative for each dimension.

    Returns:
      log p_0(x) in nats, [B].
    """
    sde.check()
    check_shapes(num_steps=(num_steps, "int >= 1"))
    if probes is not None:
        check_shapes(x=(x, "..."), probes=(probes[0], "..."))
    shape, x = x.shape, to_acc_dtype(x)
    directions = jnp.eye(math.prod(shape[1:]), dtype=x.dtype)
    vectors = probes if probes is not None else directions.reshape(-1, 1, *shape[1:]) * jnp.ones_like(x)

    def field(_, t, state):
        def velocity(x):
            rate, squared = sde.rates(t)
            return rate * x - 0.5 * squared * score(x, t)

        # v^T J v by reverse mode, as the convolutions of dlcore.nn have no forward mode.
        value, pullback = jax.vjp(velocity, state[0])
        products = jax.vmap(lambda v: (v * pullback(v)[0]).reshape(shape[0], -1).sum(-1))(vectors)  # [P, B]
        return value, products.mean(0) if probes is not None else products.sum(0)

    times = _even_times(sde, num_steps)
    endpoints, integrals = odeint(field, None, (x, jnp.zeros(shape[0], x.dtype)), times)
    deviation = sde.prior_deviation()
    prior = jax.scipy.stats.norm.logpdf(endpoints[-1] / deviation) - math.log(deviation)
    return prior.reshape(shape[0], -1).sum(-1) + integrals[-1]


def _even_times(sde: SDE, num_steps: int) -> jax.Array:
    """Times from the first to 1, even in log(b / a)."""
    fine = np.concatenate([[sde.first_time], np.geomspace(1e-5, 1, 4001)[1:]])
    with jax.ensure_compile_time_eval():
        signal, spread = map(np.asarray, sde.marginal(fine))
    log_ratio = np.log(spread) - np.log(signal)
    return jnp.asarray(np.interp(np.linspace(log_ratio[0], log_ratio[-1], num_steps + 1), log_ratio, fine), jnp.float32)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    shape: tuple[int, ...],
    encode: Callable[[Any, jax.Array, dict], jax.Array] = encode_pixels,
    decode: Callable[[Any, jax.Array], jax.Array] = decode_pixels,
    frozen: Sequence[str] = (),
    sde: SDE = SDE(),
    score_sampling: ScoreSampling = ScoreSampling(),
) -> Learner:
    """Train a score of `{"image": [B, *shape], "index": [B]}`.

    Args:
      model: F, `__call__(scaled x [B, *shape], 1000 t [B]) -> noise [B, *shape]`.
      shape: shape of one example.
      encode: (parameters, keys [B], batch) -> [B, *shape], what is diffused; the pixels in [-1, 1] by default.
      decode: (parameters, samples [B, *shape]) -> images in [0, 1].
      frozen: submodules of the model that do not learn.

    Returns:
      The learner. `evaluate` measures the loss with t and noise drawn for each example by its index; `predict` needs
      `index`, and gives `{"sample": images}`.
    """
    sde.check()
    score_sampling.check(sde)

    def losses(network, keys, x, cond, step):
        return score_loss(score_of(network, sde), keys, x, sde)

    def draw(network, keys, cond, fractions):
        noise, score = noise_of(keys, tuple(shape), fractions), score_of(network, sde)
        start = sde.prior_deviation() * noise(jnp.int32(-1))
        count = score_sampling.num_inference_steps
        if score_sampling.sampler == "langevin":
            times = np.linspace(1, 0, count)
            return annealed_langevin(
                lambda x, level: score(x, jnp.asarray(times)[level]),
                start,
                noise,
                sde.sigma_min * (sde.sigma_max / sde.sigma_min) ** times,
                langevin_steps=score_sampling.langevin_steps,
                step_size=score_sampling.step_size,
            )
        stochastic = score_sampling.sampler == "sde"
        return score_sample(score, start, noise, sde, num_steps=count, stochastic=stochastic)

    return denoising_learner(
        model=model,
        optimizer=optimizer,
        shape=shape,
        losses=losses,
        draw=draw,
        condition=None,
        encode=encode,
        decode=decode,
        frozen=frozen,
        condition_dropout=0.0,
    )
