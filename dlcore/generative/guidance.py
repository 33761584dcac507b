"""Guidance of diffusion models that keeps more variety: in an interval, rescaled, by a worse network, and CFG++.

u and c are the outputs without and with the condition, w the strength, g = u + w (c - u) classifier-free guidance
(`dlcore.generative.samplers.guide`).

    interval       g where low <= t <= high, c elsewhere           Kynkaanniemi et al. 2024, arXiv:2404.07724
    rescale        phi g std(c) / std(g) + (1 - phi) g             Lin et al. 2023, arXiv:2305.08891, section 3.4
    autoguidance   b + w (c - b), b: a worse network's output      Karras et al. 2024, arXiv:2406.02507
    CFG++          x_s = sqrt(abar_s) x0(g) + sqrt(1 - abar_s) eps(u)   Chung et al. 2024, arXiv:2406.08070; w in [0, 1]

At high noise guidance takes away variety, and at low noise it has little left to decide: the interval leaves both out.
Rescaling gives each example the deviation of c, which guidance raises. A worse network errs as the good one
does, only more, so that their difference points away from errors and not from other classes. CFG++ denoises by the
guided output, and adds the unconditional noise again, so that x stays where the network was trained.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.generative.samplers import Denoise, Prediction, branches, check_grid, read_prediction, walk
from dlcore.generative.schedules import SamplingGrid, to_acc_dtype
from dlcore.ops.checks import check_shapes

__all__ = ["autoguide", "cfg_pp_sample", "guide_interval", "rescale_guidance"]


def rescale_guidance(guided: jax.Array, conditional: jax.Array, rescale: float | jax.Array) -> jax.Array:
    """Give guided outputs the deviation of the conditional ones, in part.

    Args:
      guided: [B, ...], guided outputs.
      conditional: [B, ...], outputs with the condition.
      rescale: phi, from 0, which changes nothing, to 1.

    Returns:
      [B, ...], at least float32.
    """
    check_shapes(guided=(guided, "..."), conditional=(conditional, "..."), rescale=(rescale, "0 to 1"))
    guided, conditional = to_acc_dtype(guided), to_acc_dtype(conditional)
    axes = tuple(range(1, guided.ndim))
    deviation, target = (x.std(axes, keepdims=True) for x in (guided, conditional))
    factor = jnp.where(deviation > 0, target / jnp.where(deviation > 0, deviation, 1), 1)
    return (rescale * factor + (1 - rescale)) * guided


def guide_interval(
    network: Callable[[jax.Array, jax.Array, Any], jax.Array],
    conditions: Any,
    null: Any,
    scale: float | jax.Array,
    *,
    interval: tuple[float, float] = (0.0, np.inf),
    rescale: float = 0.0,
) -> Denoise:
    """Classifier-free guidance in an interval of timesteps, and rescaled.

    Args:
      network: (x [2 B, ...], timestep [], conditions of 2 B) -> output [2 B, ...].
      conditions: pytree of [B, ...], what to draw.
      null: pytree of [B, ...], the conditions of an unconditional example.
      scale: w above; 1 is the conditional network.
      interval: (first, last) timestep, as the network is given it, where samples are guided.
      rescale: phi above, from 0 to 1.

    Returns:
      The guided network, for any sampler; its output is at least float32.
    """
    if np.shape(interval) != (2,) or not interval[0] < interval[1]:
        raise ValueError(f"interval={tuple(interval)}: empty; allowed: (low, high), low below high")
    low, high = interval
    check_shapes(rescale=(rescale, "0 to 1"))
    check_shapes(scale=(scale, "... finite"))
    outputs = branches(network, conditions, null)

    def guided(x: jax.Array, t: jax.Array) -> jax.Array:
        unconditional, conditional = outputs(x, t)
        weight = jnp.where((t >= low) & (t <= high), scale, 1.0)
        output = unconditional + weight * (conditional - unconditional)
        return rescale_guidance(output, conditional, rescale) if rescale > 0 else output

    return guided


def autoguide(network: Denoise, worse_network: Denoise, scale: float | jax.Array) -> Denoise:
    """Guide a network away from the errors of a worse one, smaller or less trained, of the same data and condition.

    Args:
      network: (x [B, ...], timestep []) -> output [B, ...].
      worse_network: the same, of the same `Prediction`.
      scale: w above; 1 leaves the network.

    Returns:
      The guided network, for any sampler; its output is at least float32.
    """
    check_shapes(scale=(scale, "... finite"))

    def guided(x: jax.Array, t: jax.Array) -> jax.Array:
        worse = to_acc_dtype(worse_network(x, t))
        return worse + scale * (to_acc_dtype(network(x, t)) - worse)

    return guided


def cfg_pp_sample(
    network: Callable[[jax.Array, jax.Array, Any], jax.Array],
    conditions: Any,
    null: Any,
    x: jax.Array,
    grid: SamplingGrid,
    *,
    scale: float = 0.6,
    prediction: Prediction = "epsilon",
    clip_sample: bool = True,
    return_trajectory: bool = False,
) -> Any:
    """Draw by DDIM with CFG++.

    Args:
      x: [B, ...], standard normal start.
      grid: see `dlcore.generative.schedules.sampling_grid`.
      scale: w above, from 0, which ignores the condition, to 1.
      prediction: what the network predicts, see `dlcore.generative.samplers.read_prediction`.
      clip_sample: clip the predicted clean example to [-1, 1].
      return_trajectory: return x after every step too.
      As `guide_interval`.

    Returns:
      As `dlcore.generative.samplers.integrate`.
    """
    check_shapes(scale=(scale, "0 to 1"))
    check_grid(grid, prediction)
    outputs, sampling_timesteps, dtype = branches(network, conditions, null), jnp.asarray(grid.timesteps), x.dtype

    def step(x, extra, k, alpha_cumprod_t, alpha_cumprod_s):
        unconditional, conditional = outputs(x.astype(dtype), sampling_timesteps[k])
        guided = unconditional + scale * (conditional - unconditional)
        x0, _ = read_prediction(guided, x, alpha_cumprod_t, prediction)
        x0 = jnp.clip(x0, -1, 1) if clip_sample else x0
        # The noise that is added again is that without the condition.
        _, eps = read_prediction(unconditional, x, alpha_cumprod_t, prediction)
        return jnp.sqrt(alpha_cumprod_s) * x0 + jnp.sqrt(1 - alpha_cumprod_s) * eps, extra

    return walk(step, x, None, grid.alphas_cumprod, return_trajectory=return_trajectory)
