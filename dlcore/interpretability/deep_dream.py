"""DeepDream: change an image so that a layer responds more strongly to what it detects already.

Mordvintsev, Olah & Tyka 2015, "Inceptionism: going deeper into neural networks" (research.google/blog).

    maximize   F(x) = sum f(x)^2,   whose gradient at the layer's output f is 2 f: each unit shall do more of the same
    step       x <- x + s g / mean |g|,   g = dF/dx, on the image shifted at random by up to `jitter` pixels
    octaves    from a small copy of the image to the whole: what a copy gained is enlarged and added to the next

F is a mean over the layer here, so that its size does not depend on that of the image. A step that would lower F is
left out and halves s, so that F rises at every step that is taken; a shift that brings the image back to where it was
first is part of the step.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_finite, check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["ascend", "deep_dream", "octave_sizes", "squared_norm"]


def squared_norm(features: jax.Array) -> jax.Array:
    """Compute the mean square of a layer's output.

    Args:
      features: [B, h, w, D].

    Returns:
      [].
    """
    return jnp.square(to_acc_dtype(features)).mean()


def octave_sizes(size: tuple[int, int], octaves: int, scale: float, smallest: int = 32) -> list[tuple[int, int]]:
    """List the sizes of an image from small to whole.

    Args:
      size: (H, W), in pixels.
      octaves: copies, the whole image among them.
      scale: from one to the next.
      smallest: least side, in pixels; copies that would be smaller are left out.

    Returns:
      (H, W) of each copy; the last is `size`.
    """
    check_shapes(size=(size, "2"))
    for name, number in (("size", size[0]), ("size", size[1]), ("smallest", smallest)):
        check_whole_number(name, number, 1)
    check_whole_number("octaves", octaves)
    check_finite("scale", scale)
    if octaves < 1 or scale <= 1:
        raise ValueError(f"octaves={octaves}, scale={scale}: out of range; allowed: octaves >= 1, scale > 1")
    sizes = [tuple(round(side / scale**k) for side in size) for k in range(octaves)]
    return [s for s in reversed(sizes) if min(s) >= smallest] or [size]


def ascend(
    objective: Callable[[jax.Array], jax.Array],
    image: jax.Array,
    key: jax.Array,
    *,
    steps: int = 10,
    step_size: float = 0.02,
    jitter: int = 8,
) -> tuple[jax.Array, jax.Array]:
    """Climb by steps of one length, each seen through a random shift.

    Args:
      objective: image [H, W, C] in [0, 1] -> [].
      image: [H, W, C] in [0, 1].
      key: PRNG key of the shifts.
      steps: number of steps to try.
      step_size: s, the mean change of a pixel; it is halved whenever a step would lower the objective.
      jitter: largest shift, in pixels, around the edges.

    Returns:
      The image, and [steps, 2]: the objective of the shifted image before and after each step (equal where the step was
      left out).
    """
    check_shapes(image=(image, "H W C"), steps=(steps, "int >= 1"))
    check_shapes(step_size=(step_size, "> 0"), jitter=(jitter, "int >= 0"))
    check_finite("step_size", step_size)
    if not jnp.issubdtype(jnp.asarray(image).dtype, jnp.floating):
        raise ValueError(f"image={jnp.asarray(image).dtype}: no floats; allowed: float in [0, 1]")

    image, dtype = to_acc_dtype(image), jnp.asarray(image).dtype

    def step(carry: tuple[jax.Array, jax.Array], key: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        image, size = carry
        # Shift at random, so that no pattern depends on the grid of the strides.
        shift = jax.random.randint(key, (2,), -jitter, jitter + 1)
        shifted = jnp.roll(image, shift, (0, 1))
        # Gradient ascent on the layer's response, by `size` a pixel on average.
        before, gradient = jax.value_and_grad(objective)(shifted)
        mean = jnp.abs(gradient).mean()
        changed = jnp.clip(shifted + size * gradient / jnp.where(mean > 0, mean, 1), 0, 1)
        after = objective(changed)
        # Leave out a step that would lower the response, and halve the next; shift back.
        taken = after > before
        image = jnp.roll(jnp.where(taken, changed, shifted), -shift, (0, 1))
        return (image, jnp.where(taken, size, size / 2)), jnp.stack([before, jnp.where(taken, after, before)])

    start = (image, jnp.asarray(step_size, image.dtype))
    (image, _), values = jax.lax.scan(step, start, jax.random.split(key, steps))
    return image.astype(dtype), values


def deep_dream(
    objective: Callable[[jax.Array], jax.Array],
    image: jax.Array,
    key: jax.Array,
    *,
    octaves: int = 4,
    scale: float = 1.4,
    steps: int = 10,
    step_size: float = 0.02,
    jitter: int = 8,
) -> tuple[jax.Array, list[jax.Array]]:
    """Dream on copies of an image from small to whole.

    Args:
      objective: image [H, W, C] in [0, 1], of any size -> [], such as the `squared_norm` of a layer.
      image: [H, W, C] in [0, 1].
      key: PRNG key of the shifts.
      octaves: copies, the whole image among them; those with a side below 32 pixels are left out.
      scale: from one to the next.
      steps: number of steps on each copy.
      step_size: mean change of a pixel in a step.
      jitter: largest shift before each step, in pixels.

    Returns:
      The image, in [0, 1], and the [steps, 2] values of each copy, as `ascend` returns them.
    """
    check_shapes(image=(image, "H W C"))
    detail, values = jnp.zeros_like(image), []
    climb = jax.jit(lambda image, key: ascend(objective, image, key, steps=steps, step_size=step_size, jitter=jitter))
    for number, size in enumerate(octave_sizes(image.shape[:2], octaves, scale)):
        shape = (*size, image.shape[2])
        # Start from the image at this size and the details of the octave before.
        base = jax.image.resize(image, shape, "linear")
        start = jnp.clip(base + jax.image.resize(detail, shape, "linear"), 0, 1)
        dreamt, risen = climb(start, jax.random.fold_in(key, number))
        # What this octave gained is for the next one.
        detail = dreamt - base
        values.append(risen)
    return dreamt, values
