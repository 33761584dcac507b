"""Pseudo linear multistep sampling (PLMS): DDIM's steps along a mixture of the last four predictions.

Liu et al., "Pseudo numerical methods for diffusion models on manifolds" (PNDM, 2022), arXiv:2202.09778, without its
Runge-Kutta start, as Stable Diffusion 1 samples.

    e = (55 e_k - 59 e_{k-1} + 37 e_{k-2} - 9 e_{k-3}) / 24          Adams and Bashforth's; lower orders at first
    x_s = sqrt(abar_s) x0 + sqrt(1 - abar_s) eps,    x0 and eps of x_t by the prediction e
    first step: e = (e_0 + e(x', s)) / 2,  x' the step along e_0     Heun's: one more call of the network
"""

import jax
import jax.numpy as jnp

from dlcore.generative.samplers import Denoise, Prediction, check_grid, read_prediction, walk
from dlcore.generative.schedules import SamplingGrid, to_acc_dtype

__all__ = ["plms_sample"]

WEIGHTS = [
    [3 / 2, -1 / 2, 0, 0],
    [23 / 12, -16 / 12, 5 / 12, 0],
    [55 / 24, -59 / 24, 37 / 24, -9 / 24],
]
"""Weights of the last predictions, the newest first, in the second step, the third, and all later ones."""


def plms_sample(denoise: Denoise, x: jax.Array, grid: SamplingGrid, *, prediction: Prediction = "epsilon") -> jax.Array:
    """Draw a sample; the network is called once a step, and twice in the first of several.

    Args:
      denoise: the network.
      x: [B, ...], standard normal start.
      grid: see `dlcore.generative.schedules.sampling_grid`.
      prediction: what the network predicts, see `dlcore.generative.samplers.read_prediction`.

    Returns:
      [B, ...].
    """
    check_grid(grid, prediction)
    times, levels, dtype = jnp.asarray(grid.timesteps), jnp.asarray(grid.alphas_cumprod), x.dtype

    def move(x: jax.Array, output: jax.Array, level: jax.Array, next_level: jax.Array) -> jax.Array:
        x0, eps = read_prediction(output, x, level, prediction)
        return jnp.sqrt(next_level) * x0 + jnp.sqrt(1 - next_level) * eps

    # First step: Heun's method.
    start, first = to_acc_dtype(x), to_acc_dtype(denoise(x, times[0]))
    moved = move(start, first, levels[0], levels[1])
    if len(times) == 1:
        return moved.astype(dtype)
    second = to_acc_dtype(denoise(moved.astype(dtype), times[1]))
    moved = move(start, (first + second) / 2, levels[0], levels[1])

    # Multistep: [e_k, e_{k-1}, e_{k-2}, e_{k-3}], of which the second step has two.
    def step(x: jax.Array, earlier: jax.Array, k: jax.Array, level: jax.Array, next_level: jax.Array) -> tuple:
        output = to_acc_dtype(denoise(x.astype(dtype), times[k + 1]))
        outputs = jnp.concatenate([output[None], earlier])  # [4, B, ...]
        weights = jnp.asarray(WEIGHTS, outputs.dtype)[jnp.minimum(k, 2)]
        mixed = (weights.reshape(4, *[1] * x.ndim) * outputs).sum(0)
        return move(x, mixed, level, next_level), outputs[:3]

    earlier = jnp.stack([first, jnp.zeros_like(first), jnp.zeros_like(first)])
    return walk(step, moved, earlier, levels[1:]).astype(dtype)
