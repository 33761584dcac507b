"""Distances between the surfaces of two masks of a volume: how far a predicted border lies from the true one.

    S(A) = voxels of A with a face neighbor outside A            beyond the volume all is outside
    d(a, S) = min over s in S of |a - s|                         in units of the spacing
    mean distance = (sum over a in S(A) of d(a, S(B)) + sum over b in S(B) of d(b, S(A))) / (|S(A)| + |S(B)|)
    surface Dice = share of these distances that are at most the tolerance

Surface Dice is after Nikolov et al. 2018, arXiv:1809.04430; here every voxel of a surface counts alike, where the paper
weighs them by area.
"""

from collections.abc import Sequence

import numpy as np

from dlcore.ops.checks import check_spacing

__all__ = ["mean_surface_distance", "surface_dice"]


def mean_surface_distance(prediction: np.ndarray, targets: np.ndarray, spacing: Sequence[float] = (1, 1, 1)) -> float:
    """Compute the mean distance between two surfaces, from each to the other (ASSD).

    Args:
      prediction: bool [D, H, W].
      targets: bool [D, H, W].
      spacing: (depth, height, width) of a voxel, in a unit of length such as mm.

    Returns:
      The distance in that unit; NaN if both masks are empty, infinity if one is.
    """
    distances = _surface_distances(prediction, targets, spacing)
    return float(distances.mean()) if len(distances) else float("nan")


def surface_dice(
    prediction: np.ndarray, targets: np.ndarray, tolerance: float, spacing: Sequence[float] = (1, 1, 1)
) -> float:
    """Compute the share of two surfaces that lies near the other one.

    Args:
      prediction: bool [D, H, W].
      targets: bool [D, H, W].
      tolerance: largest distance that is near, in the unit of the spacing.
      spacing: (depth, height, width) of a voxel, in a unit of length such as mm.

    Returns:
      The share in [0, 1]; NaN if both masks are empty, 0 if one is.
    """
    if not 0 <= tolerance < np.inf:
        raise ValueError(f"tolerance={tolerance}: not a distance; allowed: a finite number from 0")
    distances = _surface_distances(prediction, targets, spacing)
    return float((distances <= tolerance).mean()) if len(distances) else float("nan")


def _surface_distances(prediction: np.ndarray, targets: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    from scipy.ndimage import binary_erosion, distance_transform_edt

    prediction, targets = np.asarray(prediction), np.asarray(targets)
    if (
        prediction.ndim != 3
        or targets.shape != prediction.shape
        or {prediction.dtype, targets.dtype} != {np.dtype(bool)}
    ):
        pair = f"{prediction.dtype}{list(prediction.shape)}, targets={targets.dtype}{list(targets.shape)}"
        raise ValueError(f"prediction={pair}: not two masks; allowed: bool [D, H, W], both of one shape")
    sides = check_spacing(spacing)
    a, b = (mask & ~np.asarray(binary_erosion(mask), bool) for mask in (prediction, targets))
    if not (a.any() and b.any()):
        return np.full(int(a.sum() + b.sum()), np.inf)
    to_a, to_b = (np.asarray(distance_transform_edt(~surface, sampling=sides)) for surface in (a, b))
    return np.concatenate([to_b[a], to_a[b]])
