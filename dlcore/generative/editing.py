"""Edit images with a trained diffusion model: SDEdit, edits by inversion, and inpainting by RePaint.

    SDEdit       x_t = sqrt(abar_t) x + sqrt(1 - abar_t) z at the share `strength` of the path, then any sampler from t
                 Meng et al. 2022, arXiv:2108.01073; image to image of Stable Diffusion
    inversion    x_T = DDIM backwards from x under one condition, then DDIM forwards under another
                 Song et al. 2020, arXiv:2010.02502; Mokady et al. 2022, arXiv:2211.09794
    RePaint      x_s = mask unknown + (1 - mask) known,   known = sqrt(abar_s) x + sqrt(1 - abar_s) z,
                 unknown: an ancestral step from x_t; then back, x_t = sqrt(a) x_s + sqrt(1 - a) z, a = abar_t / abar_s,
                 and again, `resamples` times in each step         Lugmayr et al. 2022, arXiv:2201.09865, algorithm 1

Resampling lets what is drawn fit what is known: a single pass draws the unknown part before it has met the known part
at the same level of noise. The jump length of the paper is 1 here. At the end the known part is the image itself, bit
for bit.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from dlcore.choices import check_choice
from dlcore.generative.inversion import ddim_invert
from dlcore.generative.samplers import Denoise, Noise, Prediction, check_grid, ddim_sample, read_prediction, walk
from dlcore.generative.schedules import SamplingGrid, add_noise, to_acc_dtype
from dlcore.ops.checks import check_finite, check_shapes, check_values

__all__ = ["Editing", "composite", "edit_images", "inversion_edit", "repaint", "sdedit", "strength_grid"]


class Editing(NamedTuple):
    """How images are edited.

    Args:
      method: sdedit, inversion or repaint.
      strength: share of the path that sdedit and inversion go back, from 0 to 1.
      resamples: passes of repaint through each step.
    """

    method: Literal["sdedit", "inversion", "repaint"] = "sdedit"
    strength: float = 0.5
    resamples: int = 5


def edit_images(
    editing: Editing,
    source: Denoise,
    target: Denoise,
    x: jax.Array,
    mask: jax.Array,
    noise: Noise,
    grid: SamplingGrid,
    *,
    prediction: Prediction = "epsilon",
    clip_sample: bool = True,
) -> jax.Array:
    """Edit images by one of the methods; sdedit draws by DDIM.

    Args:
      editing: the method, and how far it goes.
      source: the network of the condition that the images have.
      target: the network of the condition that the result shall have.
      x: [B, H, W, C], clean examples.
      mask: [B, H, W, 1], 1 where pixels may change and 0 where they stay.
      noise: step -> standard normal noise [B, H, W, C]; step -1 is that of the start.
      grid: steps of the whole path.
      prediction: what the network predicts.
      clip_sample: clip the predicted clean example to [-1, 1].

    Returns:
      [B, H, W, C], bit-equal to x where the mask is 0.
    """
    check_choice("method", editing.method, ("sdedit", "inversion", "repaint"))
    check_shapes(strength=(editing.strength, "0 to 1"), resamples=(editing.resamples, "int >= 1"))
    options: dict[str, Any] = {"prediction": prediction, "clip_sample": clip_sample}
    if editing.method == "repaint":
        start = noise(jnp.int32(-1))
        edited = repaint(target, x, mask, start, noise, grid, resamples=editing.resamples, **options)
    elif editing.method == "sdedit":
        edited = sdedit(target, x, noise, grid, editing.strength, **options)
    else:
        part = strength_grid(grid, editing.strength)
        edited = x if len(part.timesteps) == 0 else inversion_edit(source, target, x, part, **options)
    return composite(x, edited, mask)


def composite(image: jax.Array, edited: jax.Array, mask: jax.Array) -> jax.Array:
    """Put edited pixels into an image.

    Args:
      image: [B, H, W, C].
      edited: [B, H, W, C].
      mask: [B, H, W, 1], 1 where pixels are replaced and 0 where they stay.

    Returns:
      [B, H, W, C], bit-equal to the image where the mask is 0.
    """
    check_shapes(image=(image, "B H W C"), edited=(edited, "B H W C"), mask=(mask, "B H W 1"))
    check_values("mask", mask, (0, 1))
    return jnp.where(jnp.asarray(mask) != 0, edited, image)


def strength_grid(grid: SamplingGrid, strength: float) -> SamplingGrid:
    """Keep the last steps of a grid.

    Args:
      grid: N steps, see `dlcore.generative.schedules.sampling_grid`.
      strength: share of the steps, from 0 to 1; their number is rounded.

    Returns:
      The grid of the last round(strength N) steps.
    """
    check_shapes(strength=(strength, "0 to 1"))
    check_finite("strength", strength)
    first = len(grid.timesteps) - round(strength * len(grid.timesteps))
    return grid._replace(timesteps=grid.timesteps[first:], alphas_cumprod=grid.alphas_cumprod[first:])


def sdedit(
    denoise: Denoise,
    x: jax.Array,
    noise: Noise,
    grid: SamplingGrid,
    strength: float,
    *,
    sampler: Callable[..., Any] = ddim_sample,
    **options: Any,
) -> Any:
    """Add noise to images and draw from there: what the noise hides is drawn anew.

    Args:
      denoise: the network, of the condition that the result shall have.
      x: [B, ...], clean examples.
      noise: step -> standard normal noise [B, ...]; step -1 is that of the start.
      grid: steps of the whole path.
      strength: share of the path, from 0, which leaves the images, to 1, which keeps little of them.
      sampler: `ddim_sample` or another of `dlcore.generative.diffusion.SAMPLERS`.
      **options: options of the sampler, such as `prediction`.

    Returns:
      As the sampler.

    Raises:
      ValueError: strength is not in [0, 1], or as the sampler.
    """
    part = strength_grid(grid, strength)
    if len(part.timesteps) == 0:
        return (x, x[None]) if options.get("return_trajectory") else x
    start = add_noise(x, noise(jnp.int32(-1)), jnp.float32(part.alphas_cumprod[0]))
    return sampler(denoise, start, noise, part, **options)


def inversion_edit(
    source: Denoise,
    target: Denoise,
    x: jax.Array,
    grid: SamplingGrid,
    *,
    prediction: Prediction = "epsilon",
    clip_sample: bool = False,
) -> jax.Array:
    """Find the noise of images under one condition, and draw from it under another.

    Args:
      x: [B, ...], clean examples.
      grid: see `dlcore.generative.schedules.sampling_grid`; more steps invert more exactly.
      prediction: what the networks predict, see `dlcore.generative.samplers.read_prediction`.
      clip_sample: clip the predicted clean example to [-1, 1] while sampling.
      As `edit_images`.

    Returns:
      [B, ...], the edited examples.
    """
    check_grid(grid, prediction)
    start = ddim_invert(source, x, grid, prediction=prediction)
    return ddim_sample(target, start, lambda k: 0, grid, prediction=prediction, clip_sample=clip_sample)


def repaint(
    denoise: Denoise,
    x: jax.Array,
    mask: jax.Array,
    start: jax.Array,
    noise: Noise,
    grid: SamplingGrid,
    *,
    resamples: int = 10,
    prediction: Prediction = "epsilon",
    clip_sample: bool = True,
    return_trajectory: bool = False,
) -> Any:
    """Draw the masked part of images anew, so that it fits the rest.

    Args:
      mask: [B, H, W, 1], 1 where pixels are drawn and 0 where they stay.
      start: [B, H, W, C], standard normal.
      noise: draws noise; it is called 3 `resamples` times in each step, with another number each time.
      grid: see `dlcore.generative.schedules.sampling_grid`.
      resamples: passes through each step, at least 1.
      prediction: what the network predicts, see `dlcore.generative.samplers.read_prediction`.
      return_trajectory: return x after every step too.
      As `edit_images`.

    Returns:
      As `dlcore.generative.samplers.integrate`; bit-equal to x where the mask is 0, unless the grid ends in noise.
    """
    check_shapes(x=(x, "B H W C"), start=(start, "B H W C"), resamples=(resamples, "int >= 1"))
    composite(x, x, mask)
    check_grid(grid, prediction)
    dtype, observed, mask = x.dtype, to_acc_dtype(x), jnp.asarray(mask)
    sampling_timesteps = jnp.asarray(grid.timesteps)

    def step(x_t, extra, k, alpha_cumprod_t, alpha_cumprod_s):
        ratio = alpha_cumprod_t / alpha_cumprod_s
        variance = (1 - alpha_cumprod_s) / (1 - alpha_cumprod_t) * (1 - ratio)

        def one_pass(i, carry):
            x_t, _ = carry
            index = 3 * (k * resamples + i)
            # The unknown part: an ancestral step.
            output = denoise(x_t.astype(dtype), sampling_timesteps[k])
            x0, eps = read_prediction(output, x_t, alpha_cumprod_t, prediction)
            if clip_sample:
                x0 = jnp.clip(x0, -1, 1)
                eps = (x_t - jnp.sqrt(alpha_cumprod_t) * x0) / jnp.sqrt(1 - alpha_cumprod_t)
            unknown = jnp.sqrt(alpha_cumprod_s) * x0 + jnp.sqrt(1 - alpha_cumprod_s - variance) * eps
            unknown += jnp.sqrt(variance) * noise(index)
            # The known part: noise on the image.
            background = jnp.sqrt(alpha_cumprod_s) * observed + jnp.sqrt(1 - alpha_cumprod_s) * noise(index + 1)
            x_s = jnp.where(mask != 0, unknown, background)
            # Back to t, for the next pass.
            return jnp.sqrt(ratio) * x_s + jnp.sqrt(1 - ratio) * noise(index + 2), x_s

        _, x_s = jax.lax.fori_loop(0, resamples, one_pass, (x_t, x_t))
        return x_s, extra

    return walk(step, start, None, grid.alphas_cumprod, return_trajectory=return_trajectory)
