"""Consistency models: a network that gives the clean example from any noise level in one step.

Song, Dhariwal, Chen & Sutskever 2023, arXiv:2303.01469; levels, weights and distance of training are those of Song &
Dhariwal 2023, arXiv:2310.14189.

    D(x, sigma) = c_skip x + c_out F(c_in x, c_noise),   D(x, sigma_min) = x
    N(k) = min(s0 2^floor(k / K'), s1) + 1 levels at step k of K,   K' = floor(K / (log2(floor(s1 / s0)) + 1))
    sigma_1 = sigma_min to sigma_N = sigma_max, evenly spaced in sigma^(1 / rho)
    p(n) = Phi((log sigma_(n+1) - p_mean) / p_std) - Phi((log sigma_n - p_mean) / p_std), times a constant
    x_(n+1) = x0 + sigma_(n+1) z;   x_n = x0 + sigma_n z in training, or a teacher's step of Heun in distillation
    L = d(D(x_(n+1), sigma_(n+1)), stop_gradient D(x_n, sigma_n)) / (sigma_(n+1) - sigma_n)
    d(a, b) = sqrt(|a - b|^2 + c^2) - c,   c = 0.00054 sqrt(dimensions)
    sampling: x' = D(x, sigma) + sqrt(sigma'^2 - sigma_min^2) z,   z ~ N(0, I),   sigma' < sigma

`dlcore.generative.edm.edm_factors` has the factors. Neighboring levels of one path must give the same example, and at
sigma_min it is the input itself: so the answer travels from there to all levels, over finer and finer steps. More steps
of sampling add noise again and take it away. The teacher is a network that `dlcore.generative.edm` trained. The network
gets 1000 c_noise. A level's interval is drawn by a truncated normal log sigma, which falls into interval n with p(n).
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.generative.condition import Condition
from dlcore.generative.denoising import decode_pixels, denoising_learner, encode_pixels, example_noise
from dlcore.generative.diffusion import noise_of
from dlcore.generative.edm import precondition, with_timesteps
from dlcore.generative.samplers import Denoise, Noise, check_falling, walk
from dlcore.generative.schedules import karras_sigmas, to_acc_dtype
from dlcore.learner import Learner, Range, check_arguments
from dlcore.ops.checks import check_counts, check_shapes

__all__ = [
    "ConsistencyLevels",
    "ConsistencySampling",
    "Distillation",
    "consistency_loss",
    "consistency_sample",
    "discretization_steps",
    "learner",
    "pseudo_huber",
    "sample_intervals",
]


class ConsistencyLevels(NamedTuple):
    """Noise levels between which consistency is asked for.

    Args:
      s0: intervals between the levels at the start of training.
      s1: largest number of intervals; they double from s0 on.
      sigma_min: smallest level, where the network gives its input.
      sigma_max: largest level, where samples start.
      rho: spacing of the levels, even in sigma^(1 / rho).
      p_mean: mean of log sigma where intervals are drawn.
      p_std: deviation of log sigma where intervals are drawn.
    """

    s0: Annotated[int, Range(1)] = 10
    s1: Annotated[int, Range(1)] = 1280
    sigma_min: Annotated[float, Range(1e-6)] = 0.002
    sigma_max: Annotated[float, Range(1e-6)] = 80.0
    rho: Annotated[float, Range(1)] = 7.0
    p_mean: float = -1.1
    p_std: Annotated[float, Range(1e-3)] = 2.0


class ConsistencySampling(NamedTuple):
    """How examples are drawn.

    Args:
      num_inference_steps: calls of the network for a sample.
      clip_sample: clip the predicted clean example to [-1, 1] while sampling.
    """

    num_inference_steps: Annotated[int, Range(1)] = 1
    clip_sample: bool = True


class Distillation(nn.Module):
    """A network that learns, and a trained one that it learns from.

    Args:
      student: network that learns.
      teacher: trained network of the same inputs.
    """

    student: nn.Module
    teacher: nn.Module

    def __call__(self, x: jax.Array, t: jax.Array, *cond: Any, use_teacher: bool = False) -> jax.Array:
        """Apply one of the networks.

        Args:
          x: [B, ...], scaled noisy examples.
          t: [B], 1000 c_noise.
          *cond: the condition.
          use_teacher: apply the teacher.

        Returns:
          The output, [B, ...].
        """
        if self.is_initializing():
            self.teacher(x, t, *cond)
        return (self.teacher if use_teacher else self.student)(x, t, *cond)


def discretization_steps(step: Any, num_steps: int, s0: int = 10, s1: int = 1280) -> jax.Array:
    """Compute N(k), the number of levels at a step of training.

    Args:
      step: k, [], from 0 on.
      num_steps: K, steps of the whole training, at least 1.
      s0: intervals at the start, at least 1.
      s1: largest number of intervals, at least s0.

    Returns:
      [] int32, intervals + 1.
    """
    check_shapes(num_steps=(num_steps, "int >= 1"), s0=(s0, "int >= 1"), s1=(s1, "int >= 1"))
    check_counts("step", step)
    if s1 < s0:
        raise ValueError(f"s1={s1}: below s0; allowed: at least {s0=}")
    period = max(int(num_steps / (math.log2(s1 // s0) + 1)), 1)
    doublings = jnp.minimum(step // period, math.ceil(math.log2(s1 / s0)))
    return jnp.minimum(s0 * 2**doublings, s1).astype(jnp.int32) + 1


def sample_intervals(
    keys: jax.Array, num_levels: Any, levels: ConsistencyLevels = ConsistencyLevels()
) -> tuple[jax.Array, jax.Array]:
    """Draw two neighboring noise levels for each example.

    Args:
      keys: [B], of the examples.
      num_levels: N, [] int, at least 2.
      levels: range, spacing and density of the levels.

    Returns:
      (sigma_n [B], sigma_(n+1) [B]), n from 1 to N - 1 with the probability p(n).
    """
    check_shapes(keys=(keys, "B"), num_levels=(num_levels, "int >= 2"))
    karras_sigmas(2, levels.sigma_min, levels.sigma_max, levels.rho)
    bounds = [(math.log(sigma) - levels.p_mean) / levels.p_std for sigma in (levels.sigma_min, levels.sigma_max)]
    normal = jax.vmap(lambda key: jax.random.truncated_normal(key, *bounds))(keys)
    root, least, most = (
        sigma ** (1 / levels.rho)
        for sigma in (jnp.exp(levels.p_mean + levels.p_std * normal), levels.sigma_min, levels.sigma_max)
    )
    intervals = num_levels - 1
    n = jnp.clip(jnp.floor((root - least) / (most - least) * intervals), 0, intervals - 1)  # [B]
    lower, upper = ((least + (n + i) / intervals * (most - least)) ** levels.rho for i in (0, 1))
    return lower, upper


def pseudo_huber(x: jax.Array, y: jax.Array, c: float | None = None) -> jax.Array:
    """Compute the pseudo-Huber distance of examples, quadratic near 0 and linear far away.

    Args:
      x: [B, ...].
      y: [B, ...].
      c: where one becomes the other, above 0; None for 0.00054 sqrt(dimensions).

    Returns:
      [B], at least float32.
    """
    check_shapes(x=(x, "..."), y=(y, "..."), c=(c, "> 0 or None"))
    c = 0.00054 * math.sqrt(math.prod(x.shape[1:])) if c is None else c
    squares = jnp.square(to_acc_dtype(x) - to_acc_dtype(y)).reshape(x.shape[0], -1).sum(-1)
    return jnp.sqrt(squares + c**2) - c


def consistency_loss(
    network: Callable[..., jax.Array],
    keys: jax.Array,
    x: jax.Array,
    num_levels: Any,
    cond: tuple = (),
    *,
    teacher: Callable[..., jax.Array] | None = None,
    levels: ConsistencyLevels = ConsistencyLevels(),
    sigma_data: float = 0.5,
) -> jax.Array:
    """Compute L of each example.

    Args:
      network: (scaled x [B, ...], c_noise [B], *cond) -> output [B, ...].
      x: [B, ...], x0.
      cond: the condition, or () for none.
      teacher: network of EDM, of the same arguments, whose path is followed; None follows the line of the noise.
      sigma_data: deviation of the examples, above 0.
      As `sample_intervals`.

    Returns:
      [B], at least float32.
    """
    denoise = precondition(network, sigma_data, levels.sigma_min)

    def expand(sigma):
        return sigma.reshape(-1, *[1] * (x.ndim - 1))

    # Neighboring levels, and one noise for both.
    lower, upper = sample_intervals(jax.vmap(lambda key: jax.random.fold_in(key, 0))(keys), num_levels, levels)
    noise, x0 = example_noise(keys, x), to_acc_dtype(x)
    far = x0 + expand(upper) * noise  # [B, ...]
    near = x0 + expand(lower) * noise
    if teacher is not None:
        # Distillation: a step of Heun along the teacher's path.
        teacher_denoise = precondition(teacher, sigma_data)
        slope = (far - teacher_denoise(far, upper, *cond)) / expand(upper)
        euler = far + expand(lower - upper) * slope
        slope = (slope + (euler - teacher_denoise(euler, lower, *cond)) / expand(lower)) / 2
        near = jax.lax.stop_gradient(far + expand(lower - upper) * slope)
    # Both ends give the same example; the end with less noise is the target.
    target = jax.lax.stop_gradient(denoise(near, lower, *cond))
    return pseudo_huber(denoise(far, upper, *cond), target) / (upper - lower)


def consistency_sample(
    network: Denoise,
    x: jax.Array,
    noise: Noise,
    sigmas: np.ndarray,
    *,
    sigma_min: float | None = None,
    sigma_data: float = 0.5,
    clip_sample: bool = True,
    return_trajectory: bool = False,
) -> Any:
    """Draw by steps of a consistency model.

    Args:
      network: (scaled x [B, ...], 1000 c_noise []) -> output [B, ...].
      x: [B, ...], noise of the deviation sigmas[0].
      sigmas: [N + 1], falling to sigma_min, where the last step adds no noise; or [N] without it.
      sigma_min: smallest level of training, where the network gives its input; None for the last of `sigmas`.
      sigma_data: deviation of the examples.
      clip_sample: clip the predicted clean example to [-1, 1].
      return_trajectory: return x after every step too.

    Returns:
      The sample [B, ...], of the dtype of x; with `return_trajectory` (sample, [N + 1, B, ...] from x on).
    """
    if sigma_min is not None and sigma_min < sigmas[-1]:
        sigmas = np.append(sigmas, sigma_min)
    check_falling("sigmas", sigmas)
    sigma_min, dtype = float(sigmas[-1]), x.dtype
    denoise = precondition(with_timesteps(network), sigma_data, sigma_min)

    def step(x, extra, k, sigma, sigma_next):
        x0 = denoise(x.astype(dtype), sigma)
        x0 = jnp.clip(x0, -1, 1) if clip_sample else x0
        return x0 + jnp.sqrt(jnp.maximum(sigma_next**2 - sigma_min**2, 0)) * noise(k), extra

    return walk(step, x, None, sigmas, return_trajectory=return_trajectory)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    shape: tuple[int, ...],
    num_steps: int,
    teacher: nn.Module | None = None,
    condition: Condition | None = None,
    encode: Callable[[Any, jax.Array, dict], jax.Array] = encode_pixels,
    decode: Callable[[Any, jax.Array], jax.Array] = decode_pixels,
    sigma_data: Annotated[float, Range(1e-3)] = 0.5,
    consistency_levels: ConsistencyLevels = ConsistencyLevels(),
    consistency_sampling: ConsistencySampling = ConsistencySampling(),
) -> Learner:
    """Train a consistency model of `{"image": [B, *shape], "index": [B]}`, and of what `condition` reads.

    Args:
      model: F, `__call__(scaled x [B, *shape], 1000 c_noise [B]) -> [B, *shape]`; with a condition it is the third
        argument.
      shape: shape of one example.
      num_steps: K, steps of the whole training.
      teacher: network of EDM to distill; the state then holds `params["student"]` and `locked["teacher"]`, which the
        caller replaces by trained parameters. None trains on the examples alone.
      encode: (parameters, keys [B], batch) -> [B, *shape], what is diffused; the pixels in [-1, 1] by default.
      decode: (parameters, samples [B, *shape]) -> images in [0, 1].
      sigma_data: deviation of the examples.

    Returns:
      The learner. `evaluate` measures the loss at the levels of the present step; `predict` needs `index` and the
      condition, and gives `{"sample": images}`.
    """
    levels = consistency_levels
    sigmas = karras_sigmas(consistency_sampling.num_inference_steps + 1, levels.sigma_min, levels.sigma_max, levels.rho)
    discretization_steps(0, num_steps, levels.s0, levels.s1)

    def losses(network, keys, x, cond, step):
        # More levels as training goes on.
        num_levels = discretization_steps(step, num_steps, levels.s0, levels.s1)

        def trained(x, t, *cond):
            return network(x, t, *cond, use_teacher=True)

        return consistency_loss(
            with_timesteps(network),
            keys,
            x,
            num_levels,
            cond,
            teacher=None if teacher is None else with_timesteps(trained),
            levels=levels,
            sigma_data=sigma_data,
        )

    def draw(network, keys, cond, fractions):
        noise = noise_of(keys, tuple(shape), fractions)
        return consistency_sample(
            lambda x, t: network(x, t, *cond),
            sigmas[0] * noise(-1),
            noise,
            sigmas,
            sigma_data=sigma_data,
            clip_sample=consistency_sampling.clip_sample,
        )

    return denoising_learner(
        model=model if teacher is None else Distillation(model, teacher),
        optimizer=optimizer,
        shape=shape,
        losses=losses,
        draw=draw,
        condition=condition,
        encode=encode,
        decode=decode,
        frozen=() if teacher is None else ("teacher",),
        condition_dropout=0.0,
    )
