"""Saliency by gradients: how strongly each pixel moves the score of a class.

    gradient               M_ij  = max_c | d s_k(x) / d x_ijc |              Simonyan et al. 2013, 1312.6034
    SmoothGrad             the mean of d s_k(x + n) / dx over Gaussian n     Smilkov et al. 2017, arXiv:1706.03825
    integrated gradients   (x - x0) mean_a d s_k(x0 + a (x - x0)) / dx       Sundararajan, Taly & Yan 2017, 1703.01365

s_k is the score before the softmax: the probability would rise by the fall of the others, too. Scores are given images
of at least float32, whatever the images' own type. Guided backpropagation
and the deconvnet are the gradient of a score whose ReLUs have another rule (`dlcore.interpretability.relu_rules`).
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_choice, check_whole_number
from dlcore.ops.checks import check_class_ids, check_finite, check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = [
    "gradient_saliency",
    "input_gradient",
    "integrated_gradients",
    "integration_points",
    "pixel_saliency",
    "smooth_gradient",
]

Score = Callable[[jax.Array], jax.Array]
"""Images [B, H, W, C] -> scores [B, K] before the softmax, each of its own image (no batch statistics)."""

Rule = Literal["gauss_legendre", "right", "midpoint"]


def input_gradient(score: Score, images: jax.Array, labels: jax.Array | None = None) -> jax.Array:
    """Differentiate the score of a class with respect to the pixels.

    Args:
      score: images [B, H, W, C] -> scores [B, K] before the softmax, each of its own image (no batch statistics).
      images: [B, H, W, C].
      labels: [B] int, whose scores; None for the highest of each image.

    Returns:
      [B, H, W, C], at least float32.
    """
    images = to_acc_dtype(images)
    check_shapes(images=(images, "B H W C"), labels=(labels, "int B or None"))
    labels = None if labels is None else jnp.asarray(labels)

    def class_score(x: jax.Array) -> jax.Array:
        scores = score(x)
        check_shapes(images=(images, "B H W C"), scores=(scores, "B K"))
        if labels is not None:
            check_class_ids("labels", labels, scores.shape[-1])
        best = scores.argmax(-1) if labels is None else labels
        # A score depends on its own image alone, so that the gradient of the sum holds all gradients.
        return jnp.take_along_axis(scores, best[:, None], 1).sum()

    return jax.grad(class_score)(images)


def pixel_saliency(gradient: jax.Array) -> jax.Array:
    """Take the strongest channel of each pixel.

    Args:
      gradient: [..., H, W, C], or any attribution to single values.

    Returns:
      [..., H, W], not negative.
    """
    if not jnp.ndim(gradient):
        raise ValueError(f"gradient={gradient}: no map; allowed: [..., H, W, C]")
    return jnp.abs(gradient).max(-1)


def gradient_saliency(score: Score, images: jax.Array, labels: jax.Array | None = None) -> jax.Array:
    """Measure how strongly each pixel moves the score of a class.

    Args:
      score: images [B, H, W, C] -> scores [B, K] before the softmax, each of its own image (no batch statistics).
      images: [B, H, W, C].
      labels: [B] int, whose scores; None for the highest of each image.

    Returns:
      [B, H, W], not negative.
    """
    return pixel_saliency(input_gradient(score, images, labels))


def _labels(score: Score, images: jax.Array, labels: jax.Array | None) -> jax.Array:
    """Return the labels, or those of the highest scores; a label that is none of the classes is refused."""
    if labels is None:
        return score(images).argmax(-1)
    check_class_ids("labels", labels, jax.eval_shape(score, images).shape[-1])
    return labels


def smooth_gradient(
    score: Score,
    images: jax.Array,
    key: jax.Array,
    labels: jax.Array | None = None,
    *,
    samples: int = 25,
    noise: float = 0.15,
) -> jax.Array:
    """Average the gradient over noisy copies of each image (SmoothGrad).

    Args:
      score: images [B, H, W, C] -> scores [B, K] before the softmax, each of its own image (no batch statistics).
      images: [B, H, W, C].
      key: PRNG key of the noise.
      labels: [B] int, whose scores; None for the highest of each image without noise.
      samples: noisy copies of each image.
      noise: standard deviation, as a share of the range of an image's values.

    Returns:
      [B, H, W, C].
    """
    check_whole_number("samples", samples)
    check_finite("noise", noise)
    check_shapes(images=(images, "B H W C"), labels=(labels, "int B or None"))
    if samples < 1 or noise < 0:
        raise ValueError(f"samples={samples}, noise={noise}: out of range; allowed: samples >= 1, noise >= 0")
    images = to_acc_dtype(images)
    labels = _labels(score, images, labels)
    axes = tuple(range(1, images.ndim))
    sigma = noise * (images.max(axes, keepdims=True) - images.min(axes, keepdims=True))  # [B, 1, 1, 1]

    def add(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        noisy = images + sigma * jax.random.normal(key, images.shape, images.dtype)
        return total + input_gradient(score, noisy, labels), None

    return jax.lax.scan(add, jnp.zeros_like(images), jax.random.split(key, samples))[0] / samples


def integration_points(steps: int, rule: Rule = "gauss_legendre") -> tuple[np.ndarray, np.ndarray]:
    """Choose where on the way from 0 to 1 an integral is sampled.

    Args:
      steps: number of points.
      rule: gauss_legendre (exact for polynomials of degree 2 steps - 1), right (i / steps from i = 1) or midpoint.

    Returns:
      points [steps] in [0, 1], and their weights [steps], whose sum is 1.
    """
    check_choice("rule", rule, Rule)
    check_whole_number("steps", steps, 1)
    if rule == "gauss_legendre":
        points, weights = np.polynomial.legendre.leggauss(steps)
        return (points + 1) / 2, weights / 2
    offset = 1.0 if rule == "right" else 0.5
    return (np.arange(steps) + offset) / steps, np.full(steps, 1 / steps)


def integrated_gradients(
    score: Score,
    images: jax.Array,
    labels: jax.Array | None = None,
    *,
    baseline: jax.Array | float = 0.0,
    steps: int = 50,
    rule: Rule = "gauss_legendre",
    chunk: int = 1,
) -> jax.Array:
    """Attribute the difference of a score from that of a baseline to the pixels.

    Their sum is s_k(x) - s_k(x0), up to the error of the integral ("completeness").

    Args:
      score: images [B, H, W, C] -> scores [B, K] before the softmax, each of its own image (no batch statistics).
      images: [B, H, W, C].
      labels: [B] int, whose scores; None for the highest of each image.
      baseline: x0, in the units of `images`; anything that broadcasts to them: black, the mean, a blurred copy.
      steps: gradients on the way.
      rule: rule from `integration_points`.
      chunk: gradients that are computed at once, which is faster where B is small; they take memory.

    Returns:
      [B, H, W, C].
    """
    points, weights = integration_points(steps, rule)
    check_shapes(chunk=(chunk, "int >= 1"))
    check_shapes(images=(images, "B H W C"), labels=(labels, "int B or None"))
    images, baseline = to_acc_dtype(images), to_acc_dtype(baseline)
    labels = _labels(score, images, labels)
    way, chunk = images - baseline, min(chunk, steps)
    rest = -steps % chunk  # points that fill the last chunk, of weight 0
    points, weights = (np.pad(values, (0, rest)).reshape(-1, chunk) for values in (points, weights))

    def add(total: jax.Array, some: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        points, weights = some
        # Gradients on the straight line from the baseline to the image.
        between = baseline + points.reshape(-1, *[1] * images.ndim) * way  # [chunk, B, H, W, C]
        gradients = input_gradient(score, between.reshape(-1, *images.shape[1:]), jnp.tile(labels, chunk))
        return total + jnp.tensordot(weights, gradients.reshape(between.shape), 1), None

    chunks = (jnp.asarray(points, images.dtype), jnp.asarray(weights, images.dtype))
    return way * jax.lax.scan(add, jnp.zeros_like(images), chunks)[0]
