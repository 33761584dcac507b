"""Likelihoods of images: how pixels become zeros and ones or levels, and log p in nats and in bits per dimension.

    dynamic     x ~ Bernoulli(p), drawn anew at each step; p is the pixel's gray value
    static      the same draw at every step and in every run: that of a fixed key and of the image's index
    threshold   x = 1 where p > 1/2

Salakhutdinov & Murray 2008 drew MNIST once, "static"; Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519, draw it
anew. Nats under different rules are of different data, so the names of the metrics carry the rule. A Bernoulli
"likelihood" of the gray values themselves is none: it does not sum to 1.

    bits per dimension = nats of an image / (dimensions ln 2)

Sums run over flat images: XLA:CPU needs 20 times as long for a sum over rows, columns and one color.
"""

import math
from typing import Literal

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.choices import check_whole_number
from dlcore.data.augment import to_float
from dlcore.learner import Metrics, Sum, root_key
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.metrics.language import BitsPerDim
from dlcore.ops.checks import check_indices, check_probabilities, check_range, check_shapes
from dlcore.ops.precision import acc_dtype_of, to_acc_dtype

__all__ = [
    "bayes_rule",
    "bernoulli_log_likelihood",
    "binarize",
    "categorical_log_likelihood",
    "check_intensities",
    "independent_log_likelihood",
    "likelihood_metrics",
    "nats_to_bits",
    "quantize",
]

_STATIC_SEED = 2008


def check_intensities(images: np.ndarray, name: str = "image") -> None:
    """Check on the host that images can be probabilities.

    Args:
      images: [...], uint8, or float in [0, 1].
      name: name of the images, for the error.
    """
    images = np.asarray(images)
    if images.dtype == np.uint8 or not images.size:
        return
    low, high = float(images.min()), float(images.max())
    if not 0 <= low <= high <= 1:
        raise ValueError(
            f"{name}: values from {low:g} to {high:g}, and a likelihood needs intensities; allowed: uint8, or [0, 1]"
        )


def binarize(
    key: jax.Array, images: jax.Array, rule: Literal["dynamic", "static", "threshold"], index: jax.Array
) -> jax.Array:
    """Make pixels 0 or 1.

    Args:
      key: PRNG key of this step; only "dynamic" reads it.
      images: [B, ...], uint8, or float in [0, 1].
      rule: as the module says.
      index: [B], the position of each image in its source; a draw depends on it and not on the batch.

    Returns:
      [B, ...] float32, zeros and ones.
    """
    images = to_float(images)
    check_range("images", images, 0, 1)
    check_shapes(index=(index, f"{len(images)}"))
    if rule == "threshold":
        return (images > 0.5).astype(jnp.float32)
    if rule not in ("dynamic", "static"):
        raise ValueError(f"binarization={rule!r}: unknown; allowed: dynamic, static, threshold")
    if rule == "static":
        key = root_key(_STATIC_SEED)

    def draw(i, image):
        return jax.random.bernoulli(jax.random.fold_in(key, i), image)

    return jax.vmap(draw)(index, images).astype(jnp.float32)


def quantize(images: jax.Array, levels: int) -> jax.Array:
    """Cut intensities into levels of equal width.

    Args:
      images: [...], uint8, or float in [0, 1].
      levels: levels, at least 2.

    Returns:
      [...] int32 in [0, levels).
    """
    check_whole_number("levels", levels, 2)
    images = to_float(images)
    check_range("images", images, 0, 1)
    return jnp.clip(jnp.floor(images * levels), 0, levels - 1).astype(jnp.int32)


def bernoulli_log_likelihood(logits: jax.Array, x: jax.Array) -> jax.Array:
    """Sum log p over the pixels of an image, each p a Bernoulli distribution's.

    Args:
      logits: [B, ...], of the pixel being 1.
      x: [B, ...], zeros and ones.

    Returns:
      [B] float32, in nats.
    """
    if logits.shape[:1] != x.shape[:1] or logits.size != x.size:
        raise ValueError(f"logits.shape={logits.shape}: do not fit x; allowed: {x.shape}")
    logits = logits.reshape(x.shape[0], -1).astype(acc_dtype_of(logits.dtype))
    check_range("x", x, 0, 1)
    x = x.reshape(logits.shape).astype(logits.dtype)
    return -optax.sigmoid_binary_cross_entropy(logits, x).sum(-1)


def categorical_log_likelihood(logits: jax.Array, x: jax.Array) -> jax.Array:
    """Sum log p over the dimensions of an example, each p a softmax.

    Args:
      logits: [B, ..., K].
      x: [B, ...] int in [0, K).

    Returns:
      [B] float32, in nats.
    """
    if logits.shape[:1] != x.shape[:1] or logits.size != x.size * logits.shape[-1]:
        raise ValueError(f"logits.shape={logits.shape}: do not fit x; allowed: {(*x.shape, 'K')}")
    check_shapes(x=(x, "int ..."))
    x = x.reshape(x.shape[0], -1)
    logits = logits.reshape(*x.shape, -1).astype(acc_dtype_of(logits.dtype))
    check_indices("x", x, logits.shape[-1], "levels")
    return -softmax_cross_entropy_loss(logits, x).sum(-1)


def independent_log_likelihood(train: jax.Array, x: jax.Array, levels: int = 2) -> jax.Array:
    """Log p under the model without dependence: each dimension has its own frequencies, as the training images have it.

    Each level is counted once more than it was seen, so that none is impossible.

    Args:
      train: [N, ...] int in [0, levels).
      x: [B, ...] int in [0, levels).
      levels: values of a dimension.

    Returns:
      [B] float32, in nats: what a model of the dependence must beat.
    """
    check_whole_number("levels", levels, 1)
    if train.shape[1:] != x.shape[1:]:
        raise ValueError(f"x.shape={x.shape}: other dimensions than train; allowed: {('B', *train.shape[1:])}")
    check_indices("train", train, levels, "levels")
    counts = jnp.stack([(train == level).sum(0) for level in range(levels)], -1) + 1
    log_p = jnp.log(counts / counts.sum(-1, keepdims=True))
    return categorical_log_likelihood(jnp.broadcast_to(log_p, (*x.shape, levels)), x.astype(jnp.int32))


def bayes_rule(log_likelihood: jax.Array, log_prior: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Turn densities of each class to a classifier: p(y | x) = p(x | y) p(y) / p(x), p(x) = sum_y p(x | y) p(y).

    Args:
      log_likelihood: [N, C], log p(x | y) of each class.
      log_prior: [C], log p(y).

    Returns:
      (log p(y | x) [N, C], log p(x) [N]); the second is low for an x that no class explains, whatever the first says.
    """
    check_shapes(log_likelihood=(log_likelihood, "... C"), log_prior=(log_prior, "C"))
    if not isinstance(log_prior, jax.core.Tracer):
        check_probabilities("exp(log_prior)", np.exp(log_prior))
    joint = to_acc_dtype(log_likelihood) + log_prior
    evidence = jax.nn.logsumexp(joint, axis=-1)
    return joint - evidence[..., None], evidence


def nats_to_bits(nats: jax.Array, dimensions: int) -> jax.Array:
    """Convert the nats of an image to bits per dimension.

    Args:
      nats: [...], of whole images.
      dimensions: pixels times channels of an image.

    Returns:
      [...].
    """
    check_shapes(dimensions=(dimensions, "int >= 1"))
    return nats / (dimensions * math.log(2))


def likelihood_metrics(nats: jax.Array, dimensions: int, name: str, mask: jax.Array | None = None) -> Metrics:
    """Measure -log p, under names that say of what.

    Args:
      nats: [B], -log p of each image.
      dimensions: pixels times channels of an image.
      name: what the likelihood is of: "dynamic", "static", "threshold", or "16_levels".
      mask: [B], set where an image counts; None counts all.

    Returns:
      {"nll_nats_NAME": mean nats an image, "bits_per_dim_NAME": mean bits per dimension}.
    """
    check_shapes(nats=(nats, "B"), mask=(mask, "mask B or None"))
    check_whole_number("dimensions", dimensions, 1)
    return {f"nll_nats_{name}": Sum.of(nats, mask), f"bits_per_dim_{name}": BitsPerDim.of(nats / dimensions, mask)}
