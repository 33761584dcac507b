"""Scores of attribution maps: does a map point at the object, and does the network depend on what it shows?

pointing game         the largest value lies on the object             Zhang, Lin, Brandt, Shen & Sclaroff 2016,
                                                                       arXiv:1608.00507
deletion, insertion   area under s_k while pixels are covered, or      Petsiuk, Das & Saenko 2018, arXiv:1806.07421
                      uncovered, the most important first
localization          a box around the largest part above a share      Zhou et al. 2016, arXiv:1512.04150
                      of the maximum; CorLoc: its IoU is 0.5 or more
sanity                rank correlation with the map of a network       Adebayo et al. 2018, arXiv:1810.03292
                      whose weights are random
"""

import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_class_ids, check_finite, check_shapes, check_values
from dlcore.ops.precision import to_acc_dtype

__all__ = ["area_under_curve", "box_of_map", "deletion_insertion", "pointing_game", "rank_correlation"]


def pointing_game(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Pointing game: whether the largest value of each map lies on the object.

    Args:
      maps: [N, H, W].
      masks: [N, H, W] bool, of the objects.

    Returns:
      [N] bool; of several largest values the first counts.
    """
    maps, masks = np.asarray(maps), np.asarray(masks)
    if maps.shape != masks.shape or maps.ndim != 3:
        raise ValueError(f"masks.shape={masks.shape}: maps are {maps.shape}; allowed: both [N, H, W]")
    check_finite("maps", maps)
    check_values("masks", masks, (0, 1))
    masks = masks.astype(bool)
    peak = maps.reshape(len(maps), -1).argmax(1)  # [N]
    return masks.reshape(len(masks), -1)[np.arange(len(masks)), peak]


def box_of_map(values: np.ndarray, share: float = 0.2) -> np.ndarray:
    """Put a box around the largest connected part of a map that reaches a share of its maximum.

    Args:
      values: [H, W].
      share: fraction of the maximum.

    Returns:
      [4] float32: left, top, right, bottom, in pixels; the whole image where no value is positive.
    """
    from scipy.ndimage import find_objects, label

    if not 0 < share <= 1:
        raise ValueError(f"share={share}: out of range; allowed: above 0, at most 1")
    values = np.asarray(values)
    check_shapes(values=(values, "H W"))
    check_finite("values", values)
    if not values.size:
        raise ValueError(f"values={values.shape}: no pixel; allowed: [H, W], each at least 1")
    if not values.max() > 0:
        return np.array([0, 0, values.shape[1], values.shape[0]], np.float32)
    parts, _ = label(values >= share * values.max())
    # The part of the most pixels; 0 is the background.
    rows, columns = find_objects(parts)[np.bincount(parts.ravel())[1:].argmax()]
    return np.array([columns.start, rows.start, columns.stop, rows.stop], np.float32)


def deletion_insertion(
    score: Callable[[jax.Array], jax.Array],
    images: jax.Array,
    maps: jax.Array,
    labels: jax.Array,
    *,
    steps: int = 49,
    baseline: jax.Array | float = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """Cover the pixels of each image, and uncover them, in the order of a map, and follow the score.

    Args:
      score: images [B, H, W, C] -> scores [B, K], probabilities in the paper, each of its own image.
      images: [B, H, W, C].
      maps: [B, H, W]; the largest value comes first, of equal ones the upper left.
      labels: [B] int, whose scores.
      steps: number of steps in which all pixels are covered.
      baseline: what covers them, in the units of `images`; anything that broadcasts to them: a number, a blurred copy.

    Returns:
      deletion [B, steps + 1] and insertion [B, steps + 1], from none to all of the pixels.
    """
    check_whole_number("steps", steps)
    if steps < 1 or maps.shape != images.shape[:3]:
        raise ValueError(
            f"steps={steps}, maps.shape={maps.shape}: allowed: steps >= 1, and maps of shape {images.shape[:3]}"
        )
    check_shapes(images=(images, "B H W C"), labels=(labels, "int B"))
    check_finite("maps", maps)
    check_finite("baseline", baseline)
    images = to_acc_dtype(images)
    classes = jax.eval_shape(score, images).shape[-1]
    check_class_ids("labels", labels, classes)
    count = maps[0].size
    order = jnp.argsort(maps.reshape(len(maps), count), axis=1, stable=True, descending=True)
    rank = jnp.argsort(order, axis=1).reshape(maps.shape)  # [B, H, W]
    covering = jnp.broadcast_to(jnp.asarray(baseline, images.dtype), images.shape)

    def at(number: jax.Array) -> tuple[jax.Array, jax.Array]:
        first = (rank < number)[..., None]
        # Deletion covers them; insertion shows them alone.
        both = jnp.concatenate([jnp.where(first, covering, images), jnp.where(first, images, covering)])
        values = jnp.take_along_axis(score(both), jnp.tile(labels, 2)[:, None], 1)[:, 0]
        return values[: len(images)], values[len(images) :]

    # Step k takes the k / steps of the pixels with the highest values.
    numbers = -(-np.arange(steps + 1) * count // steps)
    deletion, insertion = jax.lax.map(at, jnp.asarray(numbers, jnp.int32))
    return deletion.T, insertion.T


def area_under_curve(curve: jax.Array) -> jax.Array:
    """Compute the area under a curve over [0, 1], by trapezoids.

    Args:
      curve: [..., N], at N >= 2 evenly spaced points.

    Returns:
      [...].
    """
    if not np.ndim(curve) or curve.shape[-1] < 2:
        raise ValueError(f"curve={np.shape(curve)}: no area under a point; allowed: at least two")
    curve = to_acc_dtype(curve)
    return ((curve[..., 1:] + curve[..., :-1]) / 2).mean(-1)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute Spearman's rank correlation of two maps of each image.

    Args:
      a: [N, H, W].
      b: [N, H, W].

    Returns:
      [N] in [-1, 1]; nan where a map is constant.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    check_shapes(a=(a, "N H W"), b=(b, "N H W"))
    check_finite("a", a)
    check_finite("b", b)
    from scipy.stats import ConstantInputWarning, spearmanr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        return np.array([spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(a, b, strict=True)])
