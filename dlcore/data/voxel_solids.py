"""Voxel grids of solids by exact formulas, and an image of each from a camera in front of it (orthographic projection).

A point x is occupied by the conditions below on u = A^-1 (x - center), coordinates in which the solid fills [-1, 1]^3:

    sphere    |u| <= 1                      cylinder  r <= 1, |u_z| <= 1         r^2 = u_x^2 + u_y^2
    box       max |u| <= 1                  cone      r <= (1 - u_z) / 2, u_z >= -1
    pyramid   max(|u_x|, |u_y|) <= (1 - u_z) / 2, u_z >= -1
    torus     (r - 0.7)^2 + (0.3 u_z)^2 <= 0.3^2                                 tube of half axes 0.3 and 1

A scales by three half extents, tilts about the x axis and rotates about the vertical z axis. Grids are [rows, columns,
depth], rows from top to bottom and depth away from the camera, so that a pixel shows the first occupied voxel of its
row and column.
"""

import math

import numpy as np

from dlcore.choices import check_choice
from dlcore.data.source import Source, whole_numbers
from dlcore.ops.checks import check_shapes

__all__ = ["SOLIDS", "depth_map", "occupancy", "solid_volume", "voxel_solids"]

SOLIDS = ("sphere", "box", "cylinder", "cone", "pyramid", "torus")
_UNIT_VOLUMES = {
    "sphere": 4 / 3 * math.pi,
    "box": 8.0,
    "cylinder": 2 * math.pi,
    "cone": 2 / 3 * math.pi,
    "pyramid": 8 / 3,
    "torus": 2 * math.pi**2 * 0.7 * 0.3,  # Pappus: 2 pi R times the cross-section, an ellipse of area pi 0.3 1
}


def solid_volume(kind: str, half_extents: np.ndarray) -> float:
    """Compute the volume of a solid.

    Args:
      kind: one of SOLIDS.
      half_extents: [3], half the sides of its bounding box before rotation.

    Returns:
      The volume in cubed units of `half_extents`.
    """
    check_choice("kind", kind, SOLIDS)
    check_shapes(half_extents=(half_extents, "3 finite"))
    check_shapes(half_extents=(half_extents, "... > 0"))
    return _UNIT_VOLUMES[kind] * float(np.prod(half_extents))


@whole_numbers
def occupancy(
    kind: str,
    half_extents: np.ndarray,
    resolution: int,
    yaw: float = 0.0,
    tilt: float = 0.0,
    center: np.ndarray | tuple = (0, 0, 0),
) -> np.ndarray:
    """Compute which voxels of the cube [-1, 1]^3 have their center in a solid.

    Args:
      kind: one of SOLIDS.
      half_extents: [3], half the sides of its bounding box along x, y and z, before rotation.
      resolution: R, voxels along each side.
      yaw: angle in radians of the rotation about the vertical axis z.
      tilt: angle in radians of the rotation about the x axis, applied before the yaw.
      center: [3], center of the solid; x points to the right, y away from the camera and z up.

    Returns:
      [R, R, R] bool with axes rows (z decreases), columns (x increases) and depth (y increases), True where occupied.
    """
    check_choice("kind", kind, SOLIDS)
    check_shapes(half_extents=(half_extents, "3 finite"), center=(center, "3 finite"))
    check_shapes(half_extents=(half_extents, "... > 0"), yaw=(yaw, "finite"), tilt=(tilt, "finite"))
    check_shapes(resolution=(resolution, "int >= 1"))
    along = (np.arange(resolution, dtype=np.float32) + 0.5) * 2 / resolution - 1
    z, x, y = np.meshgrid(-along, along, along, indexing="ij", sparse=True)
    x, y, z = (v - np.float32(c) for v, c in zip((x, y, z), center, strict=True))
    cos, sin = np.float32(math.cos(yaw)), np.float32(math.sin(yaw))
    x, y = cos * x + sin * y, cos * y - sin * x
    cos, sin = np.float32(math.cos(tilt)), np.float32(math.sin(tilt))
    y, z = cos * y + sin * z, cos * z - sin * y
    x, y, z = (v / np.float32(h) for v, h in zip((x, y, z), half_extents, strict=True))
    if kind == "sphere":
        return x**2 + y**2 + z**2 <= 1
    if kind in ("box", "pyramid"):
        side = np.maximum(np.abs(x), np.abs(y))
        return (side <= 1) & (np.abs(z) <= 1) if kind == "box" else (side <= (1 - z) / 2) & (z >= -1)
    r = np.hypot(x, y)
    if kind == "cylinder":
        return (r <= 1) & (np.abs(z) <= 1)
    if kind == "cone":
        return (r <= (1 - z) / 2) & (z >= -1)
    return (r - np.float32(0.7)) ** 2 + (np.float32(0.3) * z) ** 2 <= np.float32(0.09)


def depth_map(voxels: np.ndarray) -> np.ndarray:
    """Find how near the first occupied voxel of each line of sight is.

    Args:
      voxels: [..., H, W, D], bool, or probabilities, which count as occupied above 0.5.

    Returns:
      Nearness [..., H, W] float32: 1 for the nearest plane, 1 / D for the farthest, 0 if no voxel is occupied.
    """
    check_shapes(voxels=(voxels, "... H W D"))
    hit = np.asarray(voxels) > 0.5
    first = 1 - hit.argmax(-1) / hit.shape[-1]
    return np.where(hit.any(-1), first, 0).astype(np.float32)


@whole_numbers
def voxel_solids(count: int, seed: int = 0, resolution: int = 16) -> Source:
    """Draw solids of random kind, extents, position, yaw and tilt, with the image of each.

    Args:
      count: N, number of solids.
      seed: solid i of a seed is the same whatever `count`.
      resolution: R, voxels along each side, at least 8; the image has 2 R pixels along each side.

    Returns:
      A source of `voxels: [N, R, R, R] uint8`, 1 where occupied, `image: [N, 2 R, 2 R, 1] float32 in [0, 1]`, shaded by
      a light above and left of the camera, and `label: [N] int32`, an index into SOLIDS.
    """
    check_shapes(count=(count, ">= 1"), resolution=(resolution, ">= 8"))
    voxels = np.empty((count, *(resolution,) * 3), np.uint8)
    image = np.empty((count, 2 * resolution, 2 * resolution, 1), np.float32)
    label = np.empty(count, np.int32)
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        label[i] = rng.integers(len(SOLIDS))
        pose = {"yaw": rng.uniform(0, 2 * math.pi), "tilt": rng.uniform(0, 0.5), "center": rng.uniform(-0.15, 0.15, 3)}
        half_extents = rng.uniform(0.35, 0.6, 3)
        fine = occupancy(SOLIDS[label[i]], half_extents, 2 * resolution, **pose)
        voxels[i] = occupancy(SOLIDS[label[i]], half_extents, resolution, **pose)
        image[i, ..., 0] = _shaded(fine)
    arrays = {"voxels": voxels, "image": image, "label": label}
    return Source(arrays, count, class_names=SOLIDS, name="voxel solids")


def _shaded(voxels: np.ndarray) -> np.ndarray:
    """Shade the depth map by Lambert's law, with a light from above left: [H, W] in [0, 1]; the background is 0."""
    near = depth_map(voxels)
    padded = np.pad(near * len(near), 2, mode="edge")
    # Slopes over five pixels smooth the steps between voxels.
    rows, columns = (padded[4:, 2:-2] - padded[:-4, 2:-2]) / 4, (padded[2:-2, 4:] - padded[2:-2, :-4]) / 4
    light = np.array([0.4, 0.4, 0.8], np.float32) / np.float32(math.sqrt(0.96))
    slope = rows * light[0] + columns * light[1] + light[2]
    shade = np.clip(slope / np.sqrt(rows**2 + columns**2 + 1), 0, 1)
    return np.where(near > 0, 0.2 + 0.8 * shade, 0)
