"""Rendered images of convex solids, each with points and normals of its whole surface in camera coordinates.

A camera of known intrinsics looks at the solid's center from a random direction. No solid has a hole, so a sphere can
be deformed into each. The camera's axes are those of `dlcore.ops.camera`: right, down, forward.
"""

import dataclasses
from typing import Annotated, ClassVar

import jax
import numpy as np

from dlcore.data.rasterizer import rasterize, shade
from dlcore.data.solid_meshes import SOLID_MESHES, posed_solid_mesh
from dlcore.data.source import Source, whole_numbers
from dlcore.data.splits import Splits
from dlcore.learner import Range
from dlcore.losses import chamfer_loss
from dlcore.ops.checks import check_shapes

__all__ = ["DISTANCE", "IMAGE_SOLIDS", "SolidImages", "camera_intrinsics", "solid_images"]

IMAGE_SOLIDS = tuple(kind for kind in SOLID_MESHES if kind != "torus")
"""The solids without a hole, all of them convex."""
DISTANCE = 4.0
"""Distance from the camera to the center of each solid; all points of a solid are within 1 of its center."""
_FIELD = 0.275
"""Tangent of half the field of view."""


@whole_numbers
def camera_intrinsics(size: int) -> np.ndarray:
    """Compute the intrinsics of the camera that renders the solids.

    Args:
      size: side of the image in pixels.

    Returns:
      [3, 3] float32.
    """
    check_shapes(size=(size, "int >= 1"))
    focal, center = size / (2 * _FIELD), (size - 1) / 2
    return np.array([[focal, 0, center], [0, focal, center], [0, 0, 1]], np.float32)


@whole_numbers
def solid_images(
    count: int,
    seed: int = 0,
    size: int = 32,
    num_points: int = 256,
    kinds: tuple[str, ...] = IMAGE_SOLIDS,
    grid: int = 0,
    pose: bool = False,
) -> Source:
    """Render solids of random proportions from random directions.

    Args:
      count: N, number of images; image i shows kinds[i % len(kinds)].
      seed: image i of a seed is the same whatever `count`.
      size: side of the images in pixels, at least 8.
      num_points: points sampled on the surface of each solid.
      kinds: names from IMAGE_SOLIDS.
      grid: G, cells of `occupancy` along each axis of the camera's frustum; 0 leaves `occupancy` out.
      pose: whether to add `rotation`.

    Returns:
      A source of `image: [N, size, size, 1] float32` in [0, 1] (0 for the background), `points: [N, num_points, 3]` and
      `normals: [N, num_points, 3] float32` in camera coordinates, and `label: [N] int32`, an index into `kinds`.
      `grid` adds `occupancy: [N, G, G, G] uint8` of (row, column, depth), with depths from DISTANCE - 1 to
      DISTANCE + 1: 1 where the center of a cell is inside. `pose` adds `rotation: [N, 3, 3] float32` from the solid's
      canonical axes (`posed_solid_mesh`) to the camera's.
    """
    check_shapes(count=(count, ">= 1"), size=(size, ">= 8"), num_points=(num_points, ">= 1"), grid=(grid, ">= 0"))
    if not kinds:
        raise ValueError(f"kinds={kinds}: none; allowed: one or more of {', '.join(IMAGE_SOLIDS)}")
    if unknown := [kind for kind in kinds if kind not in IMAGE_SOLIDS]:
        raise ValueError(f"kinds={unknown[0]!r}: unknown; allowed: {', '.join(IMAGE_SOLIDS)}")
    label = np.arange(count, dtype=np.int32) % len(kinds)
    images = np.zeros((count, size, size, 1), np.float32)
    points, normals = np.zeros((2, count, num_points, 3), np.float32)
    occupancy = np.zeros((count, grid, grid, grid), np.uint8)
    rotation = np.zeros((count, 3, 3), np.float32)
    intrinsics = camera_intrinsics(size)
    centers = _cell_centers(grid, intrinsics, size)
    for i, kind in enumerate(label):
        rng = np.random.default_rng((seed, i))
        vertices, faces, to_world = posed_solid_mesh(kinds[kind], rng)
        vertices, to_camera = _before_camera(vertices.astype(np.float64), rng)
        rotation[i] = to_camera @ to_world
        images[i, ..., 0] = _render(vertices, faces, intrinsics, size)
        points[i], normals[i] = _sample(vertices, faces, num_points, rng)
        occupancy[i] = _is_inside(centers, vertices, faces)
    arrays = {"image": images, "points": points, "normals": normals, "label": label}
    arrays |= {"occupancy": occupancy} if grid else {}
    arrays |= {"rotation": rotation} if pose else {}
    return Source(arrays, class_names=tuple(kinds), name="solid images")


def _before_camera(vertices: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Move a solid in a random pose before the camera; return its vertices and the rotation to the camera's axes."""
    vertices = vertices - (vertices.min(0) + vertices.max(0)) / 2
    vertices /= np.linalg.norm(vertices, axis=1).max()
    azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.8)
    cos, sin = np.cos(azimuth), np.sin(azimuth)
    forward = -np.array([np.cos(elevation) * cos, np.cos(elevation) * sin, np.sin(elevation)])
    right = np.array([-sin, cos, 0.0])
    rotation = np.stack([right, np.cross(forward, right), forward])
    return vertices @ rotation.T + (0, 0, DISTANCE), rotation


def _render(vertices: np.ndarray, faces: np.ndarray, intrinsics: np.ndarray, size: int) -> np.ndarray:
    """Render the brightness [size, size], averaged over 2 x 2 rays per pixel."""
    homogeneous = vertices @ intrinsics.T
    pixels = 2 * homogeneous[:, :2] / homogeneous[:, 2:] + 0.5  # coordinates in an image of twice the resolution
    face, _ = rasterize(pixels, 1 / vertices[:, 2], faces, 2 * size, 2 * size)
    brightness = np.append(shade(vertices, faces), 0)
    return brightness[face].reshape(size, 2, size, 2).mean((1, 3))


def _cell_centers(grid: int, intrinsics: np.ndarray, size: int) -> np.ndarray:
    """Compute the centers of the frustum's cells (row, column, depth) in camera coordinates, [G, G, G, 3]."""
    middle = (np.arange(grid) + 0.5) / max(grid, 1)
    row, column, depth = np.meshgrid(middle * size - 0.5, middle * size - 0.5, DISTANCE - 1 + 2 * middle, indexing="ij")
    pixels = np.stack([column, row, np.ones_like(row)], -1)
    return pixels @ np.linalg.inv(intrinsics).T * depth[..., None]


def _is_inside(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return whether points [..., 3] lie inside a convex solid, that is behind all its faces: [...] bool."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    return (points @ normals.T <= (a * normals).sum(1)).all(-1)


def _sample(vertices: np.ndarray, faces: np.ndarray, count: int, rng: np.random.Generator):
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    scaled = np.cross(b - a, c - a)
    area = np.linalg.norm(scaled, axis=1)
    face = rng.choice(len(area), count, p=area / area.sum())
    r, s = np.sqrt(rng.random((count, 1))), rng.random((count, 1))
    points = (1 - r) * a[face] + r * (1 - s) * b[face] + r * s * c[face]
    return points, scaled[face] / area[face, None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SolidImages:
    """Images of rendered solids, and points of their surfaces.

    Args:
      image_size: side of the images in pixels, a multiple of 8
      num_images: training images; an eighth as many validate, and as many test
      surface_points: points on the surface of each solid
      cell_size: side of the cells of an occupancy grid in pixels; None for no grid
    """

    image_size: Annotated[int, Range(8), "essential"] = 32
    num_images: Annotated[int, Range(8)] = 1400
    surface_points: Annotated[int, Range(1)] = 256
    cell_size: Annotated[int | None, "no flag"] = None

    reads_files: ClassVar[bool] = False

    def load(self) -> Splits:
        """Render the solids, and measure the retrieval baseline: the points of the most similar training image.

        Returns:
          The splits; `spec["trivial"]` holds the Chamfer distance of retrieval.
        """
        few = max(1, self.num_images // 8)
        grid = 0 if self.cell_size is None else self.image_size // self.cell_size
        train, valid, test = (
            solid_images(count, seed, self.image_size, self.surface_points, grid=grid)
            for seed, count in enumerate((self.num_images, few, few))
        )
        spec = {
            "dataset": "solid images",
            "class_names": list(IMAGE_SOLIDS),
            "trivial": {"chamfer": (_retrieval(train, test), "points of the most similar training image")},
        }
        return Splits(train, valid, test, spec)


def _retrieval(train: Source, test: Source) -> float:
    train_images = train.arrays["image"].reshape(len(train), -1)
    distance = jax.jit(chamfer_loss)
    total = 0.0
    for image, points in zip(test.arrays["image"], test.arrays["points"], strict=True):
        nearest = np.square(train_images - image.reshape(-1)).sum(1).argmin()
        total += float(distance(train.arrays["points"][nearest], points))
    return total / len(test)
