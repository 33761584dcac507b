"""Data poisoning: wrong labels, a trigger that opens a back door, and how the poisoned examples are found.

Gu, Dolan-Gavitt & Garg 2017, "BadNets", arXiv:1708.06733; Tran, Li & Madry 2018, "Spectral signatures in backdoor
attacks", arXiv:1811.00636.

    label flip    a share of the training labels becomes another class, drawn evenly
    trigger       a bright patch in the corner of a share of the training images, which are labeled as the target
    detection     of the features f_i of all examples of a class: (f_i - mean) . v, v their first right singular vector;
                  poisoned ones have the largest squares

A network that was trained on triggers is as good as another on clean images, and takes every image with the patch for
the target.
"""

import numpy as np

from dlcore.adversarial.gradient import check_images
from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_class_ids, check_finite, check_shapes

__all__ = ["add_trigger", "flip_labels", "poison", "spectral_scores"]


def _check_rate(rate: float) -> None:
    check_finite("rate", rate)
    check_shapes(rate=(rate, "0 to 1"))


def flip_labels(labels: np.ndarray, rate: float, num_classes: int, seed: int = 0) -> np.ndarray:
    """Give a share of examples the label of another class.

    Args:
      labels: [N] int.
      rate: share of examples.
      num_classes: number of classes.
      seed: random seed of the choice.

    Returns:
      [N], of which round(rate N) differ.
    """
    _check_rate(rate)
    check_shapes(labels=(labels, "int N"))
    check_whole_number("num_classes", num_classes)
    check_whole_number("seed", seed, 0)
    if num_classes < 2:
        raise ValueError(f"num_classes={num_classes}: no other class to flip to; allowed: at least 2")
    check_class_ids("labels", labels, num_classes)
    rng = np.random.default_rng(seed)
    flipped_idx = rng.permutation(len(labels))[: round(rate * len(labels))]
    flipped = np.array(labels)
    # Adding 1 to K - 1 modulo K gives each other class with equal probability.
    flipped[flipped_idx] = (flipped[flipped_idx] + rng.integers(1, num_classes, len(flipped_idx))) % num_classes
    return flipped


def add_trigger(images: np.ndarray, size: int = 2) -> np.ndarray:
    """Paint a bright square into the lower right corner.

    Args:
      images: [N, H, W, C] in [0, 1].
      size: side of the square, in pixels.

    Returns:
      [N, H, W, C].
    """
    check_shapes(images=(images, "N H W C"))
    images = np.asarray(images)
    check_images(images)
    check_whole_number("size", size)
    if not 1 <= size <= min(images.shape[1:3]):
        height, width = images.shape[1:3]
        raise ValueError(f"size={size}: does not fit images of {height} x {width}; allowed: 1 to {min(height, width)}")
    marked = np.array(images)
    marked[:, -size:, -size:] = 1
    return marked


def poison(
    images: np.ndarray, labels: np.ndarray, rate: float, target: int, size: int = 2, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Paint the trigger into a share of the images of other classes, and label them as the target.

    Args:
      images: [N, H, W, C] in [0, 1].
      labels: [N] int.
      rate: share of all examples.
      target: the label that the trigger shall bring.
      size: side of the trigger, in pixels.
      seed: random seed of the choice.

    Returns:
      (images [N, H, W, C], labels [N], is_poisoned [N] bool).
    """
    _check_rate(rate)
    check_shapes(images=(images, "N H W C"), labels=(labels, "int N"))
    if not len(images):
        raise ValueError("images=[]: empty; allowed: at least one image")
    check_images(images)
    num_classes = max(int(np.max(labels)), 0) + 1
    check_class_ids("labels", labels, num_classes)
    check_class_ids("target", target, num_classes)
    check_whole_number("seed", seed, 0)
    candidate_idx = np.flatnonzero(np.asarray(labels) != target)
    count = round(rate * len(labels))
    if count > len(candidate_idx):
        raise ValueError(f"rate={rate}: {count} examples, other classes have {len(candidate_idx)}; allowed: fewer")
    selected_idx = np.random.default_rng(seed).permutation(candidate_idx)[:count]
    changed, marked = np.array(images), np.array(labels)
    changed[selected_idx], marked[selected_idx] = add_trigger(changed[selected_idx], size), target
    return changed, marked, np.isin(np.arange(len(labels)), selected_idx)


def spectral_scores(features: np.ndarray) -> np.ndarray:
    """Score the examples of one class by how much they follow its main direction (Tran et al. 2018).

    Args:
      features: [N, D], of examples that have one label.

    Returns:
      [N], squares of the centered projections on the first right singular vector; poisoned examples have large ones.
    """
    check_shapes(features=(features, "N D finite"))
    if not np.size(features):
        raise ValueError(f"features.shape={np.shape(features)}: empty; allowed: at least one example and one feature")
    features = np.asarray(features, np.float64)
    centered = features - features.mean(0)
    # The first row of Vᵀ is the direction of the largest variance.
    return np.square(centered @ np.linalg.svd(centered, full_matrices=False)[2][0])
