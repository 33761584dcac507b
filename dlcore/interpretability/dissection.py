"""Network dissection: which units stand for a concept, and how selective they are for a class.

Bau, Zhou, Khosla, Oliva & Torralba 2017, "Network dissection", arXiv:1704.05796:

    T_d     the activation that channel d exceeds at a share of 0.005 of all places
    IoU_dk  = sum_n |M_nd & L_nk| / sum_n |M_nd or L_nk|,   M_nd = [A_nd, resized to the image, > T_d], L_nk the mask of
              concept k; a channel whose best IoU is above 0.04 is a detector of that concept

Morcos, Barrett, Rabinowitz & Botvinick 2018, "On the importance of single directions", arXiv:1803.06959:

    selectivity_d = (m_d - r_d) / (m_d + r_d),   m_d the largest mean activation of the channel by class, r_d the mean
                                                 over the images of all other classes

The quantile is of the activations before they are resized, as in the paper.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.interpretability.cam import resize_map
from dlcore.ops.checks import check_finite, check_shapes, check_values
from dlcore.ops.precision import to_acc_dtype

__all__ = ["DETECTOR", "Selectivity", "activation_thresholds", "class_selectivity", "concept_iou"]

DETECTOR = 0.04
"""IoU from which a unit is called a detector."""


class Selectivity(NamedTuple):
    """How selective channels are.

    Args:
      index: [D] in [0, 1] for activations that are not negative; 0 where a channel is silent.
      classes: [D] int, of the largest mean activation.
    """

    index: np.ndarray
    classes: np.ndarray


def activation_thresholds(maps: jax.Array, share: float = 0.005) -> jax.Array:
    """Find the activation that each channel exceeds at a share of all places.

    Args:
      maps: [N, h, w, D].
      share: fraction of the places.

    Returns:
      [D].
    """
    if not 0 < share < 1:
        raise ValueError(f"share={share}: out of range; allowed: between 0 and 1")
    check_shapes(maps=(maps, "N h w D"))
    check_finite("maps", maps)
    if not maps.size:
        raise ValueError(f"maps={maps.shape}: no place; allowed: [N, h, w, D], each at least 1")
    return jnp.quantile(maps.reshape(-1, maps.shape[-1]), 1 - share, axis=0)


def concept_iou(maps: jax.Array, masks: jax.Array, thresholds: jax.Array) -> jax.Array:
    """Compare where channels are active with where concepts are, over a whole data set.

    Args:
      maps: [N, h, w, D].
      masks: [N, H, W, K] bool, of the concepts; an image may have none of them.
      thresholds: [D], which activations must exceed.

    Returns:
      [D, K], IoU; 0 where neither is anywhere.
    """
    if len(maps) != len(masks) or masks.ndim != 4:
        raise ValueError(f"masks.shape={masks.shape}: maps are {maps.shape}; allowed: [N, H, W, K] of the same N")
    check_shapes(maps=(maps, "N h w D"), thresholds=(thresholds, "D"))
    check_finite("maps", maps)
    check_finite("thresholds", thresholds)
    check_values("masks", masks, (0, 1))
    height, width = masks.shape[1:3]

    def add(sums: tuple[jax.Array, ...], pair: tuple[jax.Array, jax.Array]) -> tuple[tuple[jax.Array, ...], None]:
        features, mask = to_acc_dtype(pair[0]), pair[1]
        # Where each channel exceeds its threshold, at the masks' size.
        active = resize_map(features.transpose(2, 0, 1), (height, width)) > thresholds[:, None, None]  # [D, H, W]
        active, mask = active.astype(jnp.float32), mask.astype(jnp.float32)
        # Pixels of the intersection [D, K], of the channel [D] and of the concept [K].
        parts = jnp.einsum("dhw,hwk->dk", active, mask), active.sum((1, 2)), mask.sum((0, 1))
        return jax.tree.map(jnp.add, sums, parts), None

    channels, concepts = maps.shape[-1], masks.shape[-1]
    zeros = jnp.zeros((channels, concepts)), jnp.zeros(channels), jnp.zeros(concepts)
    both, active, there = jax.lax.scan(add, zeros, (maps, masks))[0]
    return both / jnp.maximum(active[:, None] + there - both, 1)


def class_selectivity(activations: np.ndarray, labels: np.ndarray) -> Selectivity:
    """Measure how much more a channel responds to one class than to the others.

    Args:
      activations: [N, D], not negative, such as the mean of a map after its ReLU.
      labels: [N] int.

    Returns:
      The selectivity of each channel.
    """
    activations, labels = np.asarray(activations), np.asarray(labels)
    check_shapes(activations=(activations, "N D"), labels=(labels, "N"))
    check_finite("activations", activations)
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError(f"labels: {len(classes)} class; allowed: at least 2")
    means = np.stack([activations[labels == c].mean(0) for c in classes])  # [classes, D]
    best = means.argmax(0)
    most = means.max(0)
    rest = np.array([activations[labels != classes[k], d].mean() for d, k in enumerate(best)])
    total = most + rest
    return Selectivity(np.where(total > 0, (most - rest) / np.where(total > 0, total, 1), 0), classes[best])
