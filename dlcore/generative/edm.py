"""EDM: a diffusion network whose input, output and loss are scaled by the noise level, sampled by Heun's method.

Karras, Aittala, Aila & Laine 2022, arXiv:2206.00364.

    x = x0 + sigma z,   z ~ N(0, I),   log sigma ~ N(p_mean, p_std^2) in training
    D(x, sigma) = c_skip x + c_out F(c_in x, c_noise),    d = sigma_data^2
    c_skip = d / (sigma^2 + d),   c_out = sigma sigma_data / sqrt(sigma^2 + d),   c_in = 1 / sqrt(sigma^2 + d),
    c_noise = log(sigma) / 4
    L = (sigma^2 + d) / (sigma sigma_data)^2 |D(x, sigma) - x0|^2, averaged over the dimensions

Data of deviation sigma_data give F inputs and targets of variance 1 at every level, and the weight makes the loss that
of F itself. Samples solve dx / dsigma = (x - D(x, sigma)) / sigma along levels that `karras_sigmas` spaces:

    churn   gamma = min(s_churn / N, sqrt(2) - 1) where s_tmin <= sigma <= s_tmax, else 0;   sigma^ = sigma (1 + gamma)
            x^ = x + sqrt(sigma^^2 - sigma^2) s_noise z,   z ~ N(0, I)
    Euler   x' = x^ + (sigma' - sigma^) d,   d = (x^ - D(x^, sigma^)) / sigma^
    Heun    x' = x^ + (sigma' - sigma^) (d + d') / 2,   d' is d at Euler's x' and sigma'; not where sigma' = 0

A consistency model (`dlcore.generative.consistency`) has sigma - sigma_min in place of sigma in c_skip and in the
numerator of c_out, so that D(x, sigma_min) = x. The learner's network gets 1000 c_noise, in the range of a diffusion
model's timesteps, as its sinusoids expect.
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
from dlcore.generative.condition import Condition, check_guidance
from dlcore.generative.denoising import decode_pixels, denoising_learner, encode_pixels, example_noise
from dlcore.generative.diffusion import denoiser, noise_of
from dlcore.generative.samplers import Denoise, Noise, check_falling, walk
from dlcore.generative.schedules import karras_sigmas, to_acc_dtype
from dlcore.learner import Learner, Range, check_arguments
from dlcore.ops.checks import check_range, check_shapes

__all__ = [
    "EDMSampling",
    "Preconditioning",
    "edm_factors",
    "edm_loss",
    "edm_sample",
    "learner",
    "precondition",
    "sample_sigmas",
    "with_timesteps",
]


class Preconditioning(NamedTuple):
    """Factors of D(x, sigma) = c_skip x + c_out F(c_in x, c_noise).

    Args:
      c_skip: [...], factor of the noisy example.
      c_out: [...], factor of the network's output.
      c_in: [...], factor of the network's input.
      c_noise: [...], what the network gets of sigma.
    """

    c_skip: jax.Array
    c_out: jax.Array
    c_in: jax.Array
    c_noise: jax.Array


def edm_factors(sigma: Any, sigma_data: float = 0.5, sigma_min: float = 0.0) -> Preconditioning:
    """Compute the factors of a noise level.

    Args:
      sigma: [...], above 0.
      sigma_data: deviation of the examples, above 0.
      sigma_min: level where D is the identity, of a consistency model; 0 for EDM.

    Returns:
      The factors, each [...], at least float32.
    """
    check_shapes(sigma_data=(sigma_data, "> 0"), sigma_min=(sigma_min, ">= 0"))
    check_range("sigma", sigma, 0)
    sigma, d = to_acc_dtype(sigma), sigma_data**2
    root = jnp.sqrt(sigma**2 + d)  # Table 1 of the paper, column "Ours"
    rise = sigma - sigma_min
    return Preconditioning(d / (rise**2 + d), rise * sigma_data / root, 1 / root, jnp.log(sigma) / 4)


def precondition(network: Callable[..., jax.Array], sigma_data: float = 0.5, sigma_min: float = 0.0) -> Callable:
    """Turn a network F into the denoiser D.

    Args:
      network: (scaled x [B, ...], c_noise, *cond) -> output [B, ...].
      As `edm_factors`.

    Returns:
      (x [B, ...], sigma [] or [B], *cond) -> x0 [B, ...], at least float32; the network's input has the dtype of x.
    """
    check_shapes(sigma_data=(sigma_data, "> 0"), sigma_min=(sigma_min, ">= 0"))

    def denoise(x, sigma, *cond):
        factors = edm_factors(sigma, sigma_data, sigma_min)
        c_skip, c_out, c_in = (jnp.reshape(f, (-1, *[1] * (x.ndim - 1))) for f in factors[:3])
        output = to_acc_dtype(network((c_in * x).astype(x.dtype), factors.c_noise, *cond))
        check_shapes(x=(x, "..."), output=(output, "..."))
        return c_skip * x + c_out * output

    return denoise


def with_timesteps(network: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Give a network 1000 c_noise, in the range of a diffusion model's timesteps, in place of c_noise.

    Args:
      network: (x [B, ...], t, *cond) -> output [B, ...].

    Returns:
      (x [B, ...], c_noise, *cond) -> output [B, ...].
    """
    return lambda x, c_noise, *cond: network(x, 1000 * c_noise, *cond)


def sample_sigmas(keys: jax.Array, p_mean: float = -1.2, p_std: float = 1.2) -> jax.Array:
    """Draw the noise level of each example.

    Args:
      keys: [B], of the examples.
      p_mean: mean of log sigma.
      p_std: deviation of log sigma, above 0.

    Returns:
      [B], above 0.
    """
    check_shapes(keys=(keys, "B"), p_mean=(p_mean, "finite"), p_std=(p_std, "> 0"))
    return jnp.exp(p_mean + p_std * jax.vmap(jax.random.normal)(keys))


def edm_loss(
    network: Callable[..., jax.Array],
    keys: jax.Array,
    x: jax.Array,
    cond: tuple = (),
    *,
    p_mean: float = -1.2,
    p_std: float = 1.2,
    sigma_data: float = 0.5,
) -> jax.Array:
    """Compute L of each example: the weighted squared error of the denoised example.

    Args:
      network: (scaled x [B, ...], c_noise [B], *cond) -> output [B, ...].
      x: [B, ...], x0.
      cond: the condition, or () for none.
      sigma_data: deviation of the examples, above 0.
      As `sample_sigmas`.

    Returns:
      [B], at least float32.
    """
    denoise = precondition(network, sigma_data)
    # A noise level and noise for each example.
    sigma = sample_sigmas(jax.vmap(lambda key: jax.random.fold_in(key, 0))(keys), p_mean, p_std)  # [B]
    level = sigma.reshape(-1, *[1] * (x.ndim - 1))
    noisy = to_acc_dtype(x) + level * example_noise(keys, x)  # [B, ...]
    error = denoise(noisy.astype(x.dtype), sigma, *cond) - to_acc_dtype(x)
    # Eq. 8: the weight is 1 / c_out^2.
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2  # [B]
    return weight * jnp.square(error).reshape(x.shape[0], -1).mean(-1)


class EDMSampling(NamedTuple):
    """How examples are drawn.

    Args:
      solver: heun, which calls the network twice a step except in the last, or euler.
      num_inference_steps: N, steps of the solver.
      sigma_min: last noise level before 0.
      sigma_max: first noise level.
      rho: spacing of the levels, even in sigma^(1 / rho); more spaces small levels closer.
      s_churn: noise added in all steps together; 0 follows a deterministic path.
      s_tmin: smallest noise level where noise is added.
      s_tmax: largest noise level where noise is added.
      s_noise: deviation of the added noise.
      guidance: strength w of the condition in samples: 0 without, 1 as trained, more at the price of variety.
    """

    solver: Literal["euler", "heun"] = "heun"
    num_inference_steps: Annotated[int, Range(1)] = 18
    sigma_min: Annotated[float, Range(1e-6)] = 0.002
    sigma_max: Annotated[float, Range(1e-6)] = 80.0
    rho: Annotated[float, Range(1)] = 7.0
    s_churn: Annotated[float, Range(0)] = 0.0
    s_tmin: Annotated[float, Range(0)] = 0.05
    s_tmax: Annotated[float, Range(0)] = 50.0
    s_noise: Annotated[float, Range(0)] = 1.003
    guidance: Annotated[float, Range(0)] = 1.0

    def sigmas(self) -> np.ndarray:
        """Space the noise levels of the solver: [N + 1] float64, from sigma_max down to sigma_min, and 0."""
        check_choice("solver", self.solver, ("euler", "heun"))
        if self.s_tmin > self.s_tmax:
            raise ValueError(
                f"s_tmin={self.s_tmin}: above s_tmax, no level gets noise; allowed: at most s_tmax={self.s_tmax}"
            )
        return np.append(karras_sigmas(self.num_inference_steps, self.sigma_min, self.sigma_max, self.rho), 0.0)


@check_arguments
def edm_sample(
    network: Denoise,
    x: jax.Array,
    sigmas: np.ndarray,
    noise: Noise | None = None,
    *,
    edm_sampling: EDMSampling = EDMSampling(),
    sigma_data: float = 0.5,
    return_trajectory: bool = False,
) -> Any:
    """Draw by Euler's or Heun's method on EDM's differential equation; the last step to 0 is one of Euler.

    Args:
      network: (scaled x [B, ...], c_noise []) -> output [B, ...].
      x: [B, ...], noise of the deviation sigmas[0].
      sigmas: [N + 1], falling; the last may be 0.
      sigma_data: deviation of the examples.
      return_trajectory: return x after every step too.

    Returns:
      The sample [B, ...], of the dtype of x; with `return_trajectory` (sample, [N + 1, B, ...] from x on).
    """
    check_falling("sigmas", sigmas)
    s_churn, s_tmin, s_tmax = edm_sampling.s_churn, edm_sampling.s_tmin, edm_sampling.s_tmax
    if s_churn > 0 and noise is None:
        raise ValueError(f"noise=None: s_churn={s_churn} adds noise; allowed: a function of the step, or s_churn=0")
    denoise, dtype = precondition(network, sigma_data), x.dtype
    gamma = min(s_churn / max(len(sigmas) - 1, 1), math.sqrt(2) - 1)

    def slope(x, sigma):
        return (x - denoise(x.astype(dtype), sigma)) / sigma

    def step(x, extra, k, sigma, sigma_next):
        # Algorithm 2, churn: add noise, and with it raise the level.
        if noise is not None and s_churn > 0:
            sigma_hat = jnp.where((sigma >= s_tmin) & (sigma <= s_tmax), (1 + gamma) * sigma, sigma)
            x = x + jnp.sqrt(sigma_hat**2 - sigma**2) * edm_sampling.s_noise * noise(k)
            sigma = sigma_hat
        first = slope(x, sigma)
        after = x + (sigma_next - sigma) * first
        if edm_sampling.solver == "heun":
            # The mean of the slopes at both ends of the step.
            euler = after
            after = jax.lax.cond(
                sigma_next > 0, lambda: x + (sigma_next - sigma) * (first + slope(euler, sigma_next)) / 2, lambda: euler
            )
        return after, extra

    return walk(step, x, None, sigmas, return_trajectory=return_trajectory)


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    shape: tuple[int, ...],
    condition: Condition | None = None,
    encode: Callable[[Any, jax.Array, dict], jax.Array] = encode_pixels,
    decode: Callable[[Any, jax.Array], jax.Array] = decode_pixels,
    frozen: Sequence[str] = (),
    p_mean: float = -1.2,
    p_std: Annotated[float, Range(1e-3)] = 1.2,
    sigma_data: Annotated[float, Range(1e-3)] = 0.5,
    edm_sampling: EDMSampling = EDMSampling(),
    condition_dropout: Annotated[float, Range(0, 1)] = 0.1,
) -> Learner:
    """Train a denoiser of `{"image": [B, *shape], "index": [B]}`, and of what `condition` reads.

    Args:
      model: F, `__call__(scaled x [B, *shape], 1000 c_noise [B]) -> [B, *shape]`; with a condition it is the third
        argument.
      shape: shape of one example.
      As `dlcore.generative.denoising.denoising_learner`.
      p_mean: mean of log sigma in training.
      p_std: deviation of log sigma in training.
      sigma_data: deviation of the examples.
      condition_dropout: share of the training examples that lose their condition.

    Returns:
      The learner. `evaluate` measures the loss with sigma and noise drawn for each example by its index; `predict`
      needs `index` and the condition, and gives `{"sample": images}`.
    """
    check_guidance(edm_sampling.guidance, condition is not None)
    sigmas = edm_sampling.sigmas()

    def losses(network, keys, x, cond, step):
        return edm_loss(with_timesteps(network), keys, x, cond, p_mean=p_mean, p_std=p_std, sigma_data=sigma_data)

    def draw(network, keys, cond, fractions):
        noise = noise_of(keys, tuple(shape), fractions)
        denoise = denoiser(with_timesteps(network), condition, cond, edm_sampling.guidance)
        start = sigmas[0] * noise(-1)
        return edm_sample(denoise, start, sigmas, noise, edm_sampling=edm_sampling, sigma_data=sigma_data)

    return denoising_learner(
        model=model,
        optimizer=optimizer,
        shape=shape,
        losses=losses,
        draw=draw,
        condition=condition,
        encode=encode,
        decode=decode,
        frozen=frozen,
        condition_dropout=condition_dropout,
    )
