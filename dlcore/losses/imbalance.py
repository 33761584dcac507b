"""Losses for long tails: rare classes weigh more, or get a wider margin.

    class-balanced weights:  w_c ~ (1 - beta) / (1 - beta^n_c),  sum w = C      Cui et al. 2019, arXiv:1901.05555
    LDAM:                    margin_c ~ n_c^{-1/4};                             Cao et al. 2019, arXiv:1906.07413
                             L = cross-entropy of scale (s - margin_y onehot(y))

    median frequency:        w_c = median_k(f_k) / f_c                           Eigen & Fergus 2015, arXiv:1411.4734
    ENet:                    w_c = 1 / ln(1.02 + p_c)                            Paszke et al. 2016, arXiv:1606.02147

n_c is how many examples class c has in the training split, p_c its share of all pixels, and f_c its share of the pixels
of the images that hold it. beta = 0 weighs all classes alike, beta -> 1 by 1 / n_c.
"""

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dlcore.losses.classification import softmax_cross_entropy_loss
from dlcore.ops.checks import check_class_ids, check_counts, check_range, check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["class_balanced_weights", "enet_weights", "ldam_loss", "ldam_margins", "median_frequency_weights"]


def class_balanced_weights(counts: jax.Array, beta: float | jax.Array = 0.999) -> jax.Array:
    """Class-balanced weights, for `class_weights` of the softmax cross-entropy or to sample examples by.

    Args:
      counts: [C], training examples of each class.
      beta: in [0, 1); 0 weighs all classes alike, toward 1 they weigh 1 / counts.

    Returns:
      [C], weights that sum to C; a class without examples gets 0.
    """
    check_shapes(counts=(counts, "C"), beta=(beta, "0 to <1"))
    check_counts("counts", counts)
    counts = to_acc_dtype(counts)
    # Effective number (1 - beta^n) / (1 - beta), up to a constant factor.
    effective = -jnp.expm1(counts * jnp.log1p(-jnp.asarray(1 - beta, counts.dtype)))  # [C]
    weights = jnp.where(counts > 0, 1 / jnp.where(counts > 0, effective, 1), 0)  # [C]
    return weights * len(weights) / jnp.maximum(weights.sum(), jnp.finfo(weights.dtype).tiny)


def median_frequency_weights(pixels: jax.Array, beside: jax.Array, cap: float = 10.0) -> jax.Array:
    """Weights of classes of pixels by median frequency balancing; a class of the median frequency weighs 1.

    Args:
      pixels: [C], of each class.
      beside: [C], of all classes, in the images that hold the class.
      cap: largest weight; a class of a few pixels would outvote the frame.

    Returns:
      [C]; a class without pixels gets 0, and no part in the median.
    """
    check_shapes(pixels=(pixels, "C"), beside=(beside, "C"), cap=(cap, "> 0"))
    check_counts("pixels", pixels)
    check_counts("beside", beside)
    is_traced = isinstance(pixels, jax.core.Tracer) or isinstance(beside, jax.core.Tracer)
    if not is_traced and (more := np.asarray(pixels) > np.asarray(beside)).any():
        at = int(more.argmax())
        raise ValueError(
            f"pixels[{at}]={pixels[at]:g}: more than all pixels of its images; allowed: at most beside[{at}]="
            f"{beside[at]:g}"
        )
    pixels = to_acc_dtype(pixels)
    occurs = pixels > 0
    # Frequency of a class in the images that contain it.
    frequency = pixels / jnp.maximum(to_acc_dtype(beside), 1)  # [C]
    median = jnp.nanmedian(jnp.where(occurs, frequency, jnp.nan))
    return jnp.where(occurs, jnp.minimum(median / jnp.where(occurs, frequency, 1), cap), 0)


def enet_weights(pixels: jax.Array, c: float = 1.02) -> jax.Array:
    """Weights of classes of pixels as ENet has them, between 1 / ln(1 + c) and 1 / ln(c): 1.4 and 50.5.

    Args:
      pixels: [C], of each class.
      c: limits the weight of rare classes.

    Returns:
      [C].
    """
    check_shapes(pixels=(pixels, "C"), c=(c, "> 1"))
    check_counts("pixels", pixels)
    pixels = to_acc_dtype(pixels)
    return 1 / jnp.log(c + pixels / jnp.maximum(pixels.sum(), 1))


def ldam_margins(counts: jax.Array, max_margin: float | jax.Array = 0.5) -> jax.Array:
    """Label-distribution-aware margins, wider for rarer classes.

    Args:
      counts: [C], training examples of each class; 0 counts as 1.
      max_margin: margin of the rarest class.

    Returns:
      [C], the margins.
    """
    check_shapes(counts=(counts, "C"), max_margin=(max_margin, ">= 0"))
    check_counts("counts", counts)
    if not jnp.size(counts):
        raise ValueError("counts=[]: no classes; allowed: at least one")
    margins = jnp.maximum(to_acc_dtype(counts), 1) ** -0.25  # [C]
    return margins * max_margin / margins.max()


def ldam_loss(logits: jax.Array, labels: jax.Array, margins: jax.Array, scale: float | jax.Array = 30.0) -> jax.Array:
    """Softmax cross-entropy with the label's score lowered by its class's margin.

    Args:
      logits: [..., C], unnormalized scores.
      labels: [...] int, classes in [0, C).
      margins: [C], from `ldam_margins`.
      scale: factor on the scores; 30 is for cosines, as in the paper, 1 for other logits.

    Returns:
      [...], one loss an example, in nats.
    """
    logits, labels = to_acc_dtype(logits), jnp.asarray(labels)
    check_shapes(logits=(logits, "... C"), labels=(labels, "int ..."), margins=(margins, "C"), scale=(scale, "> 0"))
    check_class_ids("labels", labels, logits.shape[-1])
    check_range("margins", margins, 0)
    # The margin is taken off the label's logit alone.
    is_label = jnp.arange(logits.shape[-1]) == labels[..., None]  # [..., C]
    return softmax_cross_entropy_loss(scale * (logits - jnp.where(is_label, margins, 0)), labels)
