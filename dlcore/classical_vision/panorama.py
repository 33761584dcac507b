"""Panoramas: images from one point of view, drawn into one by homographies.

    SIFT -> matches -> H_i from image i to image i - 1 by RANSAC -> product to the middle image -> canvas -> blend
    blend = Σ w_i g_i I_i / Σ w_i,   w the distance to the image's edge,   g the gain that matches it in the overlap

Brown & Lowe 2007, "Automatic panoramic image stitching using invariant features", IJCV 74, without its bundle
adjustment and multi-band blending. The camera may turn about its center, or the scene be a plane: nothing else is a
homography.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.classical_vision.homography import ransac_homography, rescale_homography, warp_perspective
from dlcore.classical_vision.matching import match_descriptors
from dlcore.classical_vision.ransac import Consensus
from dlcore.classical_vision.sift import sift
from dlcore.learner import root_key
from dlcore.ops.checks import check_finite, check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["Panorama", "blend_images", "canvas_size", "overlap_psnr", "stitch"]

_MIN_INLIERS = 10
_LARGEST = 8


class Panorama(NamedTuple):
    """A stitched image.

    Args:
      image: [H, W, C].
      mask: [H, W] bool, where an image covers the canvas.
      homographies: [V, 3, 3], from each image to the canvas.
      psnr: PSNR of neighbors in their overlap after matching the exposure, in dB, [V - 1]; NaN without one.
      inliers: [V - 1], matches that follow the homography.
    """

    image: np.ndarray
    mask: np.ndarray
    homographies: np.ndarray
    psnr: np.ndarray
    inliers: np.ndarray


def _align_images(
    key: jax.Array, source: jax.Array, target: jax.Array, count: int = 500, threshold: float = 2.0
) -> Consensus:
    """Find the homography from one image to another by SIFT, matching and RANSAC."""
    first, second = sift(source.mean(-1), count), sift(target.mean(-1), count)
    matches = match_descriptors(first.descriptors, second.descriptors, first_mask=first.mask, second_mask=second.mask)
    return ransac_homography(key, first.points, second.points[matches.index], threshold, mask=matches.mask)


def canvas_size(homographies: np.ndarray, sizes: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], np.ndarray]:
    """Find a canvas that holds all images.

    Args:
      homographies: [V, 3, 3], from each image to a common plane.
      sizes: (rows, columns) of each image.

    Returns:
      ((rows, columns) of the canvas, [3, 3] the shift from the plane to it).
    """
    check_shapes(homographies=(homographies, "V 3 3"))
    homographies = np.asarray(homographies, np.float64)
    check_finite("homographies", homographies)
    if not len(sizes) or len(sizes) != len(homographies):
        raise ValueError(f"sizes: {len(sizes)}, homographies: {len(homographies)}; allowed: as many of both")
    corners = []
    for index, (matrix, (height, width)) in enumerate(zip(homographies, sizes, strict=True)):
        points = np.array([[0, 0, 1], [width - 1, 0, 1], [0, height - 1, 1], [width - 1, height - 1, 1]]) @ matrix.T
        points *= np.sign(points[:, 2].mean())  # a homography has any sign
        if not (points[:, 2] > 1e-6 * abs(points[:, 2].mean())).all():
            raise ValueError(
                f"homographies[{index}]: the image crosses the horizon; allowed: views less than 90° apart"
            )
        corners.append(points[:, :2] / points[:, 2:])
    first, last = np.floor(np.min(corners, (0, 1)) + 1e-3), np.ceil(np.max(corners, (0, 1)) - 1e-3)
    columns, rows = (last - first).astype(int) + 1
    limit = _LARGEST * max(max(size) for size in sizes)
    if max(rows, columns) > limit:
        raise ValueError(f"canvas={rows}x{columns}: too large; allowed: at most {limit} pixels a side")
    return (int(rows), int(columns)), np.array([[1, 0, -first[0]], [0, 1, -first[1]], [0, 0, 1]])


def overlap_psnr(first: jax.Array, second: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Compare two images where both are, after matching the exposure by one factor.

    Args:
      first: [H, W, C] in [0, 1], or integers of their type's range.
      second: [H, W, C].
      mask: [H, W] bool, where both are.

    Returns:
      (PSNR in dB, the gain of the second): NaN and 1 where they do not overlap or one is black.
    """
    check_shapes(first=(first, "H W C"), second=(second, "H W C"), mask=(mask, "H W"))
    first, second = _to_unit_range(first), _to_unit_range(second)
    weights = mask[..., None].astype(first.dtype)
    product, energy = (weights * first * second).sum(), (weights * second**2).sum()
    # Least-squares exposure factor on the overlap.
    gain = jnp.where(product > 0, product / jnp.where(energy > 0, energy, 1), 1)
    squared = (weights * (first - gain * second) ** 2).sum() / jnp.maximum(weights.sum() * first.shape[-1], 1)
    return jnp.where(product > 0, -10 * jnp.log10(jnp.maximum(squared, 1e-12)), jnp.nan), gain


def blend_images(
    images: Sequence[jax.Array], homographies: jax.Array, size: tuple[int, int]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draw images into a canvas, exposures matched along the chain, seams feathered.

    Args:
      images: V of [H, W, C] in [0, 1], or integers of their type's range; neighbors overlap.
      homographies: [V, 3, 3], from each to the canvas.
      size: (rows, columns) of the canvas.

    Returns:
      (canvas [*size, C], mask [*size] bool, PSNR of each overlap [V - 1], NaN where one is empty
      or black, which matches no exposure).
    """
    if len(images) < 2 or len(images) != len(homographies):
        raise ValueError(
            f"images: {len(images)}, homographies: {len(homographies)}; allowed: at least 2, as many of both"
        )
    total, weight_sum, psnr, last, gain = 0.0, 0.0, [], None, 1.0
    for image, homography in zip(images, homographies, strict=True):
        image = _to_unit_range(image)
        height, width, _ = image.shape
        rows, columns = jnp.arange(height, dtype=image.dtype)[:, None], jnp.arange(width, dtype=image.dtype)
        # Feathering: weights fall to the image's border, so that seams fade.
        to_edge = jnp.minimum(jnp.minimum(rows, height - 1 - rows), jnp.minimum(columns, width - 1 - columns)) + 1
        warped, mask = warp_perspective(jnp.concatenate([image, to_edge[..., None]], -1), homography, size)
        warped, weight = warped[..., :-1], warped[..., -1:]
        if last is not None:
            value, gain = overlap_psnr(last[0], warped, last[1] & mask)
            psnr.append(value)
        warped = jnp.clip(gain * warped, 0, 1)
        last = (warped, mask)
        total, weight_sum = total + weight * warped, weight_sum + weight
    return total / jnp.maximum(weight_sum, 1e-9), weight_sum[..., 0] > 0, jnp.stack(psnr)


def stitch(images: Sequence[np.ndarray], seed: int = 0, count: int = 500, threshold: float = 2.0) -> Panorama:
    """Stitch images, each of which overlaps with the next.

    Args:
      images: V of [H, W, C] in [0, 1], or integers of their type's range, from left to right or in any order of
        neighbors.
      seed: random seed of RANSAC.
      count: keypoints of each image.
      threshold: largest error of an inlier, in pixels.

    Returns:
      The panorama, in the plane of the middle image (of two, the first).
    """
    if len(images) < 2:
        raise ValueError(f"images: {len(images)}; allowed: at least 2")
    for index, image in enumerate(images):
        check_shapes(**{f"images[{index}]": (image, "H W C finite")})
    check_whole_number("count", count, 4)
    check_shapes(threshold=(threshold, "> 0"))
    check_finite("threshold", threshold)
    images = [np.asarray(_to_unit_range(image)) for image in images]
    align = jax.jit(_align_images, static_argnums=(3, 4))
    chain, inliers = [np.eye(3)], []
    for index in range(1, len(images)):
        key = jax.random.fold_in(root_key(seed), index)
        alignment = align(key, images[index], images[index - 1], count, threshold)
        if alignment.num_inliers < _MIN_INLIERS:
            raise ValueError(
                f"images[{index}]: {int(alignment.num_inliers)} matches with images[{index - 1}]; allowed: at least "
                f"{_MIN_INLIERS}, of neighbors that overlap"
            )
        chain.append(chain[-1] @ np.asarray(alignment.model, np.float64))
        inliers.append(int(alignment.num_inliers))
    # The middle image is the reference, which keeps distortion low at both ends.
    homographies = np.linalg.inv(chain[(len(images) - 1) // 2]) @ np.stack(chain)  # [V, 3, 3]
    size, shift = canvas_size(homographies, [image.shape[:2] for image in images])
    homographies = rescale_homography(shift @ homographies)
    canvas, mask, psnr = jax.jit(blend_images, static_argnums=2)(
        [jnp.asarray(image) for image in images], jnp.asarray(homographies, jnp.float32), size
    )
    return Panorama(np.asarray(canvas), np.asarray(mask), homographies, np.asarray(psnr), np.array(inliers))


def _to_unit_range(image: jax.Array) -> jax.Array:
    """Floats as they are, integers over the largest of their type."""
    dtype = jnp.asarray(image).dtype
    return to_acc_dtype(image) / (jnp.iinfo(dtype).max if jnp.issubdtype(dtype, jnp.integer) else 1)
