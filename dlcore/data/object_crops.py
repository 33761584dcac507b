"""Crops of objects from their scenes, with their keypoints."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.scenes import KEYPOINTS, scenes
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.learner import CheckedRecord, Range
from dlcore.ops.roi import roi_align

__all__ = ["ObjectCrops", "object_crops"]

PADDING = 1.25
"""Side of a crop over the longer side of the box."""


@dataclasses.dataclass(frozen=True)
class ObjectCrops(CheckedRecord):
    """Cropped objects of drawn scenes, with their keypoints.

    Args:
      num_scenes: scenes to train on, of up to six objects; an eighth as many validate, and as many test
      crop_size: side of a crop in pixels, a multiple of 8
    """

    num_scenes: Annotated[int, Range(16), "essential"] = 800
    crop_size: Annotated[int, Range(16), "essential"] = 48

    reads_files: ClassVar[bool] = False

    def load(self) -> Splits:
        """Draw the scenes, and cut the objects out of them."""
        few = self.num_scenes // 8
        counts = (self.num_scenes, few, few)
        train, valid, test = (
            object_crops(scenes(count, seed, keypoints=True), self.crop_size) for seed, count in enumerate(counts)
        )
        spec = {"dataset": "crops of scenes", "image_size": self.crop_size, "class_names": list(train.class_names)}
        return Splits(train, valid, test, spec)

    def arguments(self, run: Any) -> dict[str, Callable[[jax.Array], jax.Array]]:
        """Give the technique its `preprocess`."""
        return {"preprocess": lambda images: images.astype(jnp.float32) / 127.5 - 1}


def object_crops(source: Source, size: int) -> Source:
    """Cut every object out of its scene, by a square around its box.

    Args:
      source: scenes with keypoints.
      size: side of a crop in pixels.

    Returns:
      `image [N, size, size, 3] uint8`, `keypoints [N, K, 3]` and `boxes [N, 1, 4]` in pixels of the crop, `labels
      [N, 1]` and `box_mask [N, 1]`.
    """
    arrays, (scene, slot) = source.arrays, np.nonzero(source.arrays["box_mask"])
    boxes = arrays["boxes"]
    centers, sides = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]).max(-1, keepdims=True)
    sides = PADDING * np.maximum(sides, 1)
    squares = np.concatenate([centers - sides / 2, centers + sides / 2], -1)  # [N, M, 4]

    @jax.jit
    def crop(images: jax.Array, squares: jax.Array) -> jax.Array:
        def one(pair: tuple[jax.Array, jax.Array]) -> jax.Array:
            return roi_align(pair[0].astype(jnp.float32), pair[1], size, aligned=True)

        return jnp.round(jax.lax.map(one, (images, squares))).astype(jnp.uint8)

    image = np.asarray(crop(arrays["image"], squares))[scene, slot]
    corner, scale = squares[scene, slot, None, :2], size / sides[scene, slot, None]  # [N, 1, 2], [N, 1, 1]
    points = arrays["keypoints"][scene, slot]
    keypoints = np.concatenate([(points[..., :2] - corner) * scale, points[..., 2:]], -1).astype(np.float32)
    corners = (boxes[scene, slot].reshape(-1, 2, 2) - corner) * scale
    values = {
        "image": image,
        "keypoints": keypoints,
        "boxes": corners.reshape(-1, 1, 4).astype(np.float32),
        "labels": arrays["labels"][scene, slot][:, None],
        "box_mask": np.ones((len(image), 1), bool),
    }
    return Source(values, len(image), class_names=source.class_names, name="crops", keypoint_names=KEYPOINTS)
