"""What matched features are used for: recognizing objects, following points, and flow between features.

    object    the known image with the most matches that one homography explains, if they are more than a threshold
    flow      x₂ - x₁ of each match: sparse optical flow by descriptors, of motions of any size
    track     the same keypoint matched from frame to frame, until it is lost

Lowe 2004, "Distinctive image features from scale-invariant keypoints", section 7. The other two uses are localization
(`pose`, from matches with a map of points) and structure from motion (`two_view`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dlcore.classical_vision.homography import ransac_homography
from dlcore.classical_vision.matching import match_descriptors
from dlcore.classical_vision.sift import Keypoints

__all__ = ["Recognition", "Tracks", "feature_flow", "recognize", "track_keypoints"]


class Recognition(NamedTuple):
    """Which object an image shows.

    Args:
      index: int32, of the object with the most consistent matches; -1 where they are too few.
      counts: [M], consistent matches with each object.
      homographies: [M, 3, 3], from each object to the image.
    """

    index: jax.Array
    counts: jax.Array
    homographies: jax.Array


class Tracks(NamedTuple):
    """Keypoints of the first frame in all frames.

    Args:
      points: [T, N, 2].
      mask: [T, N] bool; once False, False in all later frames.
    """

    points: jax.Array
    mask: jax.Array


def recognize(
    key: jax.Array,
    objects: Keypoints,
    image: Keypoints,
    threshold: int = 8,
    distance: float = 4.0,
    ratio: float = 0.8,
    num_hypotheses: int = 200,
) -> Recognition:
    """Recognize a known object by its number of consistent matches.

    Args:
      key: PRNG key.
      objects: keypoints of M images of objects, stacked: arrays of [M, N, ...].
      image: keypoints of the image, [N', ...].
      threshold: least number of matches that one homography explains.
      distance: largest error of such a match, in pixels.
      ratio: ratio of the ratio test.
      num_hypotheses: samples of RANSAC for each object.

    Returns:
      The recognition.
    """
    if threshold < 5:
        raise ValueError(f"threshold={threshold}: any four matches fit a homography; allowed: at least 5")

    def count(single: Keypoints) -> tuple[jax.Array, jax.Array]:
        matches = match_descriptors(
            single.descriptors, image.descriptors, ratio, first_mask=single.mask, second_mask=image.mask
        )
        target = image.points[matches.index]
        consensus = ransac_homography(key, single.points, target, distance, num_hypotheses, matches.mask)
        return consensus.num_inliers, consensus.model

    counts, homographies = jax.vmap(count)(objects)
    best = counts.argmax().astype(jnp.int32)
    return Recognition(jnp.where(counts[best] >= threshold, best, -1), counts, homographies)


def feature_flow(first: Keypoints, second: Keypoints, ratio: float = 0.8) -> tuple[jax.Array, jax.Array]:
    """Motion of keypoints between two images.

    Args:
      first: keypoints of the first image, [N, ...].
      second: keypoints of the second, [M, ...].
      ratio: ratio of the ratio test.

    Returns:
      (flow [N, 2] in pixels, mask [N] bool).
    """
    matches = match_descriptors(
        first.descriptors, second.descriptors, ratio, first_mask=first.mask, second_mask=second.mask
    )
    return jnp.where(matches.mask[:, None], second.points[matches.index] - first.points, 0), matches.mask


def track_keypoints(frames: Keypoints, ratio: float = 0.8, max_motion: float = 30.0) -> Tracks:
    """Follow the keypoints of the first frame through a film.

    Args:
      frames: keypoints of T frames, stacked: arrays of [T, N, ...].
      ratio: ratio of the ratio test.
      max_motion: largest motion between two frames, in pixels.

    Returns:
      Tracks of [T, N].
    """
    start = jax.tree.map(lambda x: x[0], frames)

    def step(carry, frame: Keypoints):
        index, active, last = carry
        matches = match_descriptors(last.descriptors, frame.descriptors, ratio, True, last.mask, frame.mask)
        target = matches.index[index]
        motion = frame.points[target] - last.points[index]
        # A track ends where its keypoint has no match, or jumps too far.
        active &= matches.mask[index] & (jnp.square(motion).sum(-1) <= max_motion**2)
        index = jnp.where(active, target, index)
        return (index, active, frame), (jnp.where(active[:, None], frame.points[index], 0), active)

    carry = (jnp.arange(len(start.mask), dtype=jnp.int32), start.mask, start)
    _, (points, mask) = jax.lax.scan(step, carry, jax.tree.map(lambda x: x[1:], frames))
    return Tracks(jnp.concatenate([start.points[None], points]), jnp.concatenate([start.mask[None], mask]))
