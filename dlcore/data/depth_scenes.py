"""Depth scenes: one image, and the depth and the surface normals of its pixels.

data=DepthScenes(num_scenes=800, image_size=32), measures=[Measure("abs_rel", "min")], report=[depth_scenes.panels]
"""

import dataclasses
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp

from dlcore.data.splits import Splits
from dlcore.learner import CheckedRecord, Range

__all__ = ["DepthScenes"]


@dataclasses.dataclass(frozen=True)
class DepthScenes(CheckedRecord):
    """Rendered scenes with exact depth and normals.

    Args:
      num_scenes: training images; an eighth as many validate, and as many test
      image_size: side of the images in pixels, a multiple of 8
    """

    num_scenes: Annotated[int, Range(4)] = 800
    image_size: Annotated[int, Range(8), "essential"] = 32

    reads_files: ClassVar[bool] = False

    def load(self) -> Splits:
        """Render the scenes, and measure the mean depth map of the training scenes."""
        from dlcore.data.solids import rgbd_scenes
        from dlcore.metrics.depth import depth_errors

        few = max(4, self.num_scenes // 8)
        counts = (self.num_scenes, few, few)
        train, valid, test = (rgbd_scenes(count, seed, self.image_size) for seed, count in enumerate(counts))
        mean = jnp.asarray(train.arrays["depth"].mean(0))
        errors = jax.jit(jax.vmap(lambda target: depth_errors(mean, target)["abs_rel"]))(test.arrays["depth"])
        spec = {
            "dataset": "rgbd scenes",
            "image_size": self.image_size,
            "trivial": {"abs_rel": (float(errors.mean()), "the mean depth map of the training scenes")},
        }
        return Splits(train, valid, test, spec)
