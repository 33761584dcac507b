"""Samplers of diffusion models: from noise to a sample, given a network that predicts the noise.

Ancestral: Ho, Jain & Abbeel 2020, arXiv:2006.11239. DDIM: Song, Meng & Ermon 2021, arXiv:2010.02502.

    x0   = (x_t - sqrt(1 - abar_t) eps(x_t, t)) / sqrt(abar_t)                     clipped to [-1, 1] where asked
    ddpm: x_s = sqrt(abar_s) (1 - a) / (1 - abar_t) x0 + sqrt(a) (1 - abar_s) / (1 - abar_t) x_t + sigma z
          a = abar_t / abar_s,   sigma^2 = (1 - abar_s) / (1 - abar_t) (1 - a)  "fixed_small"; 1 - a  "fixed_large"
    ddim: x_s = sqrt(abar_s) x0 + sqrt(1 - abar_s - eta^2 sigma^2) eps + eta sigma z
    euler: x_s / sqrt(abar_s) = x_t / sqrt(abar_t) + (sigma_s - sigma_t) eps,   sigma^2 = (1 - abar) / abar

Euler's method (Karras et al. 2022, arXiv:2206.00364) without added noise takes the steps of DDIM with eta = 0, in
other variables. s follows t on a grid of `dlcore.generative.schedules.sampling_grid`. The conventions are those of the
diffusers library, whose trajectories the tests reproduce. Where x0 is clipped, eps is recomputed from the clipped x0,
so that both always belong to x_t. A network may predict v instead of eps (Salimans & Ho 2022, arXiv:2202.00512):

    v = sqrt(abar) eps - sqrt(1 - abar) x0

Any of them draws from p(x | y) once the network is conditioned (Dhariwal & Nichol 2021, arXiv:2105.05233):

    eps(x_t, t, y) = eps(x_t, t) - scale sqrt(1 - abar_t) grad log p(y | x_t)

A network that is given y needs no classifier (Ho & Salimans 2022, arXiv:2207.12598):

    eps = eps(x_t, t, null) + w (eps(x_t, t, y) - eps(x_t, t, null))

so that w = 0 is unconditional and w = 1 conditional, as in Imagen and diffusers; the paper's own w is smaller by 1.
"""

from collections.abc import Callable
from numbers import Real
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_choice
from dlcore.generative.schedules import SamplingGrid, check_floats, signal_and_spread, to_acc_dtype
from dlcore.ops.checks import check_finite, check_range, check_shapes, describe_array

__all__ = [
    "Denoise",
    "Noise",
    "Prediction",
    "branches",
    "check_falling",
    "check_grid",
    "condition",
    "ddim_sample",
    "ddpm_sample",
    "euler_sample",
    "guide",
    "integrate",
    "read_prediction",
    "target_of",
    "walk",
]

Denoise = Callable[[jax.Array, jax.Array], jax.Array]
"""(x [B, ...], timestep []) -> predicted noise [B, ...], or what else `Prediction` names."""
Noise = Callable[[jax.Array], jax.Array]
"""Step k [] -> standard normal noise [B, ...], a new draw for each k."""
Prediction = Literal["epsilon", "v", "sample"]
"""What a network predicts: the noise, the velocity or the clean example."""


def read_prediction(output: Any, x: Any, abar: Any, prediction: Prediction = "epsilon") -> tuple[Any, Any]:
    """Read a network's output as the clean example and the noise.

    Args:
      output: [...], what the network predicts of x_t.
      x: [...], x_t.
      abar: [], alphas_cumprod at t; at least float32.
      prediction: what that is: the noise epsilon, the velocity v, or the clean example.

    Returns:
      (x_0, eps), both [...], computed in float32 and cast to the dtype of x.
    """
    check_choice("prediction", prediction, Prediction)
    check_floats("x", x)
    dtype = jnp.asarray(x).dtype
    if jnp.shape(output) != jnp.shape(x):
        raise ValueError(f"output={describe_array(output)}: another shape than x; allowed: {describe_array(x)}")
    signal, spread = signal_and_spread("abar", abar)
    output, x = to_acc_dtype(output), to_acc_dtype(x)
    # x_t = signal * x_0 + spread * eps.
    if prediction == "epsilon":
        x0, eps = (x - spread * output) / signal, output
    elif prediction == "v":
        x0, eps = signal * x - spread * output, signal * output + spread * x
    else:
        x0, eps = output, (x - signal * output) / spread
    return x0.astype(dtype), eps.astype(dtype)


def target_of(x0: Any, eps: Any, abar: Any, prediction: Prediction = "epsilon") -> Any:
    """Compute the training target that a parameterization asks for.

    Args:
      x0: [...], the clean example.
      eps: [...], the noise that was added to it.
      abar: [], alphas_cumprod at t; at least float32.
      prediction: what the network predicts, see `read_prediction`.

    Returns:
      [...], computed in float32 and cast to the dtype of x0.
    """
    check_floats("x0", x0)
    check_shapes(x0=(x0, "..."), eps=(eps, "..."))
    check_choice("prediction", prediction, Prediction)
    signal, spread = signal_and_spread("abar", abar)
    if prediction == "v":
        target = signal * to_acc_dtype(eps) - spread * to_acc_dtype(x0)
    else:
        target = to_acc_dtype(eps if prediction == "epsilon" else x0)
    return target.astype(jnp.asarray(x0).dtype)


def guide(
    network: Callable[[jax.Array, jax.Array, Any], jax.Array], conditions: Any, null: Any, scale: float | jax.Array
) -> Denoise:
    """Classifier-free guidance; both branches run in one call with twice the batch.

    Args:
      network: (x [2 B, ...], timestep [], conditions of 2 B) -> output [2 B, ...].
      conditions: pytree of [B, ...], what to draw.
      null: pytree of [B, ...], the conditions of an unconditional example.
      scale: w above; 0 is the unconditional network exactly, 1 the conditional one, and more follows the condition
        at the price of variety.

    Returns:
      The guided network, for any sampler; its output is at least float32.
    """
    check_shapes(scale=(scale, "... finite"))
    outputs = branches(network, conditions, null)

    def guided(x: jax.Array, t: jax.Array) -> jax.Array:
        unconditional, conditional = outputs(x, t)
        return unconditional + scale * (conditional - unconditional)  # eq. 6 of Ho & Salimans, scale = 1 + w

    return guided


def branches(
    network: Callable[[jax.Array, jax.Array, Any], jax.Array], conditions: Any, null: Any
) -> Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """Call a network without and with the condition, in one call with twice the batch.

    Args:
      As `guide`.

    Returns:
      (x [B, ...], timestep []) -> (unconditional output, conditional output), both [B, ...], at least float32.
    """
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (null, conditions)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"null: of shapes {shapes[0]}; allowed: {shapes[1]}, as the conditions")
    both = jax.tree.map(lambda *parts: jnp.concatenate(parts), null, conditions)

    def outputs(x: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        for leaf in jax.tree.leaves(both):
            if len(leaf) != 2 * len(x):
                raise ValueError(
                    f"conditions: of {len(leaf) // 2} examples; allowed: {len(x)}, as x={describe_array(x)}"
                )
        output = to_acc_dtype(network(jnp.concatenate([x, x]), t, both))
        if len(output) != 2 * len(x):
            raise ValueError(f"network: gives {describe_array(output)}; allowed: {2 * len(x)} rows, of both conditions")
        unconditional, conditional = jnp.split(output, 2)
        return unconditional, conditional

    return outputs


def condition(
    denoise: Denoise,
    log_probability: Callable[[jax.Array, jax.Array], jax.Array],
    alphas_cumprod: np.ndarray,
    scale: float | jax.Array = 1.0,
) -> Denoise:
    """Classifier guidance: shift the predicted noise by the gradient of a classifier of noisy examples.

    Args:
      log_probability: (x [B, ...], timestep []) -> log p(y | x_t) [B], of what each example shall be.
      alphas_cumprod: [T].
      scale: strength; 1 draws from p(x | y), more from its modes, and 0 leaves the network.

    Returns:
      The conditioned network, for any sampler; its output is at least float32.
    """
    check_shapes(scale=(scale, "... finite"))
    check_shapes(alphas_cumprod=(alphas_cumprod, "T"))
    check_range("alphas_cumprod", alphas_cumprod, 0, 1)
    alpha_cumprod = jnp.asarray(alphas_cumprod)

    def alpha_cumprod_at(t):
        return jnp.interp(t, jnp.arange(len(alpha_cumprod)), alpha_cumprod)

    def conditioned(x: jax.Array, t: jax.Array) -> jax.Array:
        # Eq. 14 of Dhariwal & Nichol: shift the noise by the gradient of log p(y | x_t).
        slope = jax.grad(lambda x: log_probability(x, t).sum())(x)
        shift = scale * jnp.sqrt(1 - alpha_cumprod_at(t)) * to_acc_dtype(slope)
        return to_acc_dtype(denoise(x, t)) - shift

    return conditioned


def integrate(
    step: Callable,
    denoise: Denoise,
    x: jax.Array,
    extra: Any,
    grid: SamplingGrid,
    *,
    prediction: Prediction = "epsilon",
    clip_sample: bool = True,
    return_trajectory: bool = False,
) -> Any:
    """Scan a sampler's step over its timesteps.

    The network gets x in the dtype of the start. The steps are taken in float32: in half precision abar of the first
    timesteps is 1, and 1 - abar is 0.

    Args:
      step: `(x, x0, eps, extra, k, alpha_cumprod_t, alpha_cumprod_s) -> (x, extra)`, the k-th step, from timestep t to
        s, given the predicted clean example x0 and the noise eps that belongs to it.
      x: [B, ...], start.
      extra: whatever else the sampler carries.
      grid: see `dlcore.generative.schedules.sampling_grid`.
      prediction: what the network predicts, see `read_prediction`.
      clip_sample: clip the predicted clean example to [-1, 1].
      return_trajectory: return x after every step too.

    Returns:
      The sample [B, ...], of the dtype of the start; with `return_trajectory` (sample, [N + 1, B, ...] from the start
      on).
    """
    dtype = x.dtype
    check_grid(grid, prediction)
    sampling_timesteps = jnp.asarray(grid.timesteps)

    def denoised_step(x, extra, k, alpha_cumprod_t, alpha_cumprod_s):
        output = denoise(x.astype(dtype), sampling_timesteps[k])
        x0, eps = read_prediction(output, x, alpha_cumprod_t, prediction)
        if clip_sample:
            x0 = jnp.clip(x0, -1, 1)
            eps = (x - jnp.sqrt(alpha_cumprod_t) * x0) / jnp.sqrt(1 - alpha_cumprod_t)
        return step(x, x0, eps, extra, k, alpha_cumprod_t, alpha_cumprod_s)

    return walk(denoised_step, x, extra, grid.alphas_cumprod, return_trajectory=return_trajectory)


def walk(step: Callable, x: jax.Array, extra: Any, levels: Any, *, return_trajectory: bool = False) -> Any:
    """Scan a solver's step over noise levels, in float32.

    Args:
      step: `(x, extra, k, level, next_level) -> (x, extra)`, the k-th step; x is at least float32.
      extra: whatever else the solver carries.
      levels: [N + 1], such as alphas_cumprod, sigmas or times.
      As `integrate`.

    Returns:
      The last x [B, ...], of the dtype of the start; with `return_trajectory` (x, [N + 1, B, ...] from the start on).
    """
    check_floats("x", x)
    _check_levels(levels)
    start, dtype = to_acc_dtype(x), x.dtype
    levels = jnp.asarray(levels, start.dtype)

    def body(carry, row):
        carry = step(*carry, *row)
        if carry[0].shape != start.shape:
            raise ValueError(
                f"x={describe_array(x)}: a step gives {list(carry[0].shape)}; allowed: outputs and noise like x"
            )
        return carry, carry[0].astype(dtype) if return_trajectory else None

    rows = jnp.arange(len(levels) - 1), levels[:-1], levels[1:]
    (sample, _), path = jax.lax.scan(body, (start, extra), rows)
    sample = sample.astype(dtype)
    return (sample, jnp.concatenate([x[None], path])) if return_trajectory else sample


def _check_levels(levels: Any) -> None:
    """Check that the levels of noise are finite, where they are concrete, and that there is a step between them."""
    check_shapes(levels=(levels, "N"))
    check_finite("levels", levels)
    if len(levels) < 2:
        raise ValueError(f"levels={len(levels)}: no step; allowed: at least two levels")


def check_falling(name: str, levels: Any) -> None:
    """Check the levels of noise of a sampler.

    Args:
      name: of the argument, for the message.
      levels: [N]; traced ones pass.
    """
    if isinstance(levels, jax.core.Tracer):
        return
    levels = np.asarray(levels)
    _check_levels(levels)
    if (levels < 0).any() or not (np.diff(levels) < 0).all():
        raise ValueError(f"{name}={levels.tolist()}: do not fall; allowed: falling numbers of at least 0")


def check_grid(grid: SamplingGrid, prediction: Prediction) -> None:
    """Check that a network can predict what it is asked for at each step of a grid.

    Args:
      grid: steps of a sampler; a traced one passes.
      prediction: what the network predicts.
    """
    check_choice("prediction", prediction, Prediction)
    if len(grid.alphas_cumprod) != len(grid.timesteps) + 1:
        counts = f"{len(grid.alphas_cumprod)} of {len(grid.timesteps)} timesteps"
        raise ValueError(f"alphas_cumprod: {counts}; allowed: one more than timesteps")
    if isinstance(grid.alphas_cumprod, jax.core.Tracer):
        return
    check_range("alphas_cumprod", grid.alphas_cumprod, 0, 1)
    alpha_cumprod = np.asarray(grid.alphas_cumprod, np.float32)[:-1]
    for value, problem, allowed in (
        (0, "is noise alone, which tells nothing of the example, with prediction=epsilon", "prediction=v, sample"),
        (1, "has no noise in float32", "below 1"),
    ):
        if (value == 1 or prediction == "epsilon") and (alpha_cumprod == value).any():
            t = grid.timesteps[(alpha_cumprod == value).argmax()]
            raise ValueError(f"alphas_cumprod={value}: timestep {t} {problem}; allowed: {allowed}")


def ddpm_sample(
    denoise: Denoise,
    x: jax.Array,
    noise: Noise,
    grid: SamplingGrid,
    *,
    variance_type: Literal["fixed_small", "fixed_large"] = "fixed_small",
    **reading: Any,
) -> Any:
    """Draw by ancestral sampling, which is the paper's where the grid has every timestep.

    Args:
      x: [B, ...], standard normal start.
      grid: see `dlcore.generative.schedules.sampling_grid`.
      variance_type: sigma^2 above.
      **reading: `prediction`, `clip_sample` and `return_trajectory` of `integrate`.

    Returns:
      As `integrate`.
    """
    check_choice("variance_type", variance_type, ("fixed_small", "fixed_large"))

    def step(x, x0, eps, extra, k, alpha_cumprod_t, alpha_cumprod_s):
        # Eq. 7 of DDPM: the posterior q(x_s | x_t, x_0) with the predicted x_0.
        a = alpha_cumprod_t / alpha_cumprod_s
        mean = (
            jnp.sqrt(alpha_cumprod_s) * (1 - a) / (1 - alpha_cumprod_t) * x0
            + jnp.sqrt(a) * (1 - alpha_cumprod_s) / (1 - alpha_cumprod_t) * x
        )
        variance = (1 - a) * ((1 - alpha_cumprod_s) / (1 - alpha_cumprod_t) if variance_type == "fixed_small" else 1)
        return mean + jnp.where(alpha_cumprod_s < 1, jnp.sqrt(variance), 0) * noise(k), extra

    return integrate(step, denoise, x, None, grid, **reading)


def ddim_sample(
    denoise: Denoise, x: jax.Array, noise: Noise, grid: SamplingGrid, *, eta: float = 0.0, **reading: Any
) -> Any:
    """Draw by DDIM.

    Args:
      eta: from 0, which follows a deterministic path, to 1, which has the ancestral variance.
      As `ddpm_sample`.

    Returns:
      As `integrate`.
    """
    check_shapes(eta=(eta, "0 to 1"))

    def step(x, x0, eps, extra, k, alpha_cumprod_t, alpha_cumprod_s):
        # Eqs. 12 and 16 of DDIM: eta = 0 is deterministic, eta = 1 as random as DDPM.
        sigma = eta * jnp.sqrt((1 - alpha_cumprod_s) / (1 - alpha_cumprod_t) * (1 - alpha_cumprod_t / alpha_cumprod_s))
        x = jnp.sqrt(alpha_cumprod_s) * x0 + jnp.sqrt(1 - alpha_cumprod_s - sigma**2) * eps
        return (x if isinstance(eta, Real) and eta == 0 else x + sigma * noise(k)), extra

    return integrate(step, denoise, x, None, grid, **reading)


def euler_sample(denoise: Denoise, x: jax.Array, noise: Noise, grid: SamplingGrid, **reading: Any) -> Any:
    """Draw by Euler's method on dy / dsigma = eps, y = x / sqrt(abar), sigma = sqrt((1 - abar) / abar).

    Args:
      grid: see `dlcore.generative.schedules.sampling_grid`; karras is made for it.
      As `ddpm_sample`.

    Returns:
      As `integrate`.
    """

    def step(x, x0, eps, extra, k, alpha_cumprod_t, alpha_cumprod_s):
        # y_t = x0 + sigma_t eps, so y_s = x0 + sigma_s eps: finite where alpha_cumprod_t is 0,
        # and no clean image is left.
        return jnp.sqrt(alpha_cumprod_s) * x0 + jnp.sqrt(1 - alpha_cumprod_s) * eps, extra

    return integrate(step, denoise, x, None, grid, **reading)
