"""Camera rays with their colors, from rendered views of one procedural scene: three solids on a checkered floor.

Cameras of random position on the upper half of a sphere look at the scene. Surfaces are Lambertian, under one
directional light without shadows. Camera axes are those of `dlcore.ops.camera`; the world's z axis is up.
"""

import dataclasses
from typing import Annotated, ClassVar

import numpy as np

from dlcore.data.solids import Solid, render_depth
from dlcore.data.source import Source, whole_numbers
from dlcore.data.splits import Splits
from dlcore.learner import CheckedRecord, Range
from dlcore.ops.checks import check_shapes

__all__ = ["SceneViews", "mean_color_psnr", "scene_rays"]

_RADIUS = 4.0
"""Distance of the cameras from the point that they look at."""
_TARGET = np.array([0, 0, 0.35])
"""The point that the cameras look at."""
_FIELD = 0.3
"""Tangent of half the field of view."""
_SOLIDS = (
    (Solid("box", np.array([0.4, 0.3, 0.45]), np.eye(3), np.array([-0.7, 0.3, 0.45])), (0.9, 0.35, 0.2)),
    (Solid("sphere", np.full(3, 0.4), np.eye(3), np.array([0.6, 0.5, 0.4])), (0.2, 0.5, 0.9)),
    (Solid("cone", np.array([0.4, 0.5, 0.4]), np.eye(3), np.array([0.1, -0.7, 0.5])), (0.3, 0.8, 0.3)),
)
_LIGHT = np.array([0.48, -0.36, 0.8])


@whole_numbers
def scene_rays(num_views: int, seed: int = 0, size: int = 32) -> Source:
    """Render views of the scene as rays.

    Args:
      num_views: V, number of views, at least 1.
      seed: random seed of the cameras; view i of a seed is the same whatever `num_views`.
      size: side of the images in pixels, at least 8.

    Returns:
      A source of N = V size² rays, view by view and row by row: `origin`, `direction` (of length 1) and `color` (in
      [0, 1]), each [N, 3] float32, and `depth: [N] float32`, the distance along the ray.
    """
    check_shapes(num_views=(num_views, ">= 1"), size=(size, ">= 8"))
    views = [_view(np.random.default_rng((seed, i)), size) for i in range(num_views)]
    arrays = {name: np.concatenate([view[name] for view in views]).astype(np.float32) for name in views[0]}
    return Source(arrays, name="scene rays")


def _view(rng: np.random.Generator, size: int) -> dict[str, np.ndarray]:
    azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(0.9, 1.3)
    forward = -np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0])
    rotation = np.stack([right, np.cross(forward, right), forward])
    center = _TARGET - _RADIUS * forward
    focal, middle = size / (2 * _FIELD), (size - 1) / 2
    intrinsics = np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1]])
    solids = [solid for solid, _ in _SOLIDS]
    depth, normals, label = render_depth(solids, intrinsics, rotation, -rotation @ center, size, size)
    v, u = np.mgrid[:size, :size]
    plane = np.stack([u, v, np.ones_like(u)], -1).reshape(-1, 3) @ np.linalg.inv(intrinsics).T @ rotation
    length = np.linalg.norm(plane, axis=1, keepdims=True)
    points = center + depth.reshape(-1, 1) * plane
    checks = (np.floor(points[:, 0] / 0.7) + np.floor(points[:, 1] / 0.7)) % 2
    floor = np.where(checks[:, None] > 0, 0.85, 0.45) * np.ones(3)
    colors = np.array([color for _, color in _SOLIDS])
    label = label.reshape(-1)
    albedo = np.where(label[:, None] < len(colors), colors[np.minimum(label, len(colors) - 1)], floor)
    shade = 0.25 + 0.75 * np.maximum(normals.reshape(-1, 3) @ (rotation @ _LIGHT), 0)
    return {
        "origin": np.broadcast_to(center, points.shape),
        "direction": plane / length,
        "color": albedo * shade[:, None],
        "depth": depth.reshape(-1) * length[:, 0],
    }


def mean_color_psnr(train: np.ndarray, test: np.ndarray) -> float:
    """Compute the PSNR of the mean of the training colors.

    Args:
      train: [N, 3], colors in [0, 1].
      test: [M, 3], colors in [0, 1].

    Returns:
      Decibels.
    """
    check_shapes(train=(train, "N 3"), test=(test, "M 3"))
    return float(-10 * np.log10(np.square(test - np.mean(train, 0)).mean()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneViews(CheckedRecord):
    """The rays of rendered views of a scene.

    Args:
      num_views: views to train on; an eighth as many test
      image_size: side of the views in pixels
    """

    num_views: Annotated[int, Range(1), "essential"] = 64
    image_size: Annotated[int, Range(8), "essential"] = 32

    reads_files: ClassVar[bool] = False

    def load(self) -> Splits:
        """Render the views, from fixed seeds."""
        views = self.num_views, max(1, self.num_views // 16), max(1, self.num_views // 8)
        train, valid, test = (scene_rays(count, seed, self.image_size) for seed, count in enumerate(views))
        mean_psnr = mean_color_psnr(train.arrays["color"], test.arrays["color"])
        spec = {
            "dataset": "scene rays",
            "image_size": self.image_size,
            "trivial": {"psnr": (mean_psnr, "the mean color of the training pixels")},
        }
        return Splits(train, valid, test, spec)
