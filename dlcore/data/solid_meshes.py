"""Closed meshes of simple solids, and point clouds sampled from them.

Each solid but the torus is a profile of points (radius, height) that is revolved about the z axis in steps: 24 steps
make a round solid, four a box or a pyramid, three a prism.
"""

import numpy as np

from dlcore.choices import check_choice
from dlcore.data.shapes3d import mesh_points
from dlcore.data.source import Source, whole_numbers
from dlcore.ops.checks import check_shapes

__all__ = ["SOLID_MESHES", "posed_solid_mesh", "revolve_profile", "solid_clouds", "solid_mesh", "torus_mesh"]

_ROUND = 24
_ARC = np.linspace(-np.pi / 2, np.pi / 2, 13)
_FLAT = np.array([(0, -1), (1, -1), (1, 1), (0, 1)], float)
_POINTED = np.array([(0, -1), (1, -1), (0, 1)], float)

_QUARTER = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
"""Rotation by a quarter turn that maps the y axis to the x axis."""

SOLID_MESHES = {
    "box": (_FLAT, 4),
    "capsule": (np.stack([np.cos(_ARC), np.sin(_ARC) + np.where(_ARC > 0, 1, -1)], 1), _ROUND),
    "cone": (_POINTED, _ROUND),
    "cylinder": (_FLAT, _ROUND),
    "ellipsoid": (np.stack([np.cos(_ARC), np.sin(_ARC)], 1), _ROUND),
    "prism": (_FLAT, 3),
    "pyramid": (_POINTED, 4),
    "torus": None,
}
"""Name -> (profile [K, 2], steps of a revolution); `torus_mesh` builds the torus."""


@whole_numbers
def revolve_profile(profile: np.ndarray, segments: int) -> tuple[np.ndarray, np.ndarray]:
    """Build the mesh of a solid of revolution about the z axis.

    Args:
      profile: [K, 2] points (radius, height) from bottom to top; the first and the last radius are 0, the others above.
      segments: steps of the revolution, at least 3.

    Returns:
      (vertices [V, 3] float32, faces [F, 3] int32), closed, normals outward.
    """
    check_shapes(profile=(profile, "K 2"))
    profile = np.asarray(profile, float)
    radius, height = profile.T
    check_shapes(segments=(segments, "int >= 3"))
    if len(profile) < 3 or max(abs(radius[0]), abs(radius[-1])) > 1e-9 or (radius[1:-1] <= 0).any():
        raise ValueError(f"profile={profile.tolist()}: not closed; allowed: radius 0 at both ends, above 0 between")
    angle = 2 * np.pi * (np.arange(segments) + 0.5) / segments
    rings = [np.stack([r * np.cos(angle), r * np.sin(angle), np.full(segments, z)], 1) for r, z in profile[1:-1]]
    vertices = np.concatenate([*rings, [(0, 0, height[0]), (0, 0, height[-1])]]).astype(np.float32)
    here, following = np.arange(segments), (np.arange(segments) + 1) % segments
    bottom, top = len(vertices) - 2, len(vertices) - 1
    last = (len(rings) - 1) * segments
    faces = [
        np.stack([np.full(segments, bottom), following, here], 1),
        np.stack([np.full(segments, top), last + here, last + following], 1),
    ]
    for k in range(len(rings) - 1):
        low, high = k * segments, (k + 1) * segments
        faces.append(np.stack([low + here, low + following, high + following], 1))
        faces.append(np.stack([low + here, high + following, high + here], 1))
    return vertices, np.concatenate(faces).astype(np.int32)


@whole_numbers
def torus_mesh(tube: float = 0.4, segments: int = 24, sides: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Build the mesh of a torus about the z axis, whose ring has the radius 1.

    Args:
      tube: radius of the tube, in (0, 1).
      segments: steps around the ring, at least 3.
      sides: steps around the tube, at least 3.

    Returns:
      (vertices [segments * sides, 3] float32, faces [F, 3] int32), closed, normals outward.
    """
    if not 0 < tube < 1 or min(segments, sides) < 3:
        raise ValueError(f"{tube=}, {segments=}, {sides=}: no torus; allowed: 0 < tube < 1, from 3 and from 3")
    i, j = np.meshgrid(np.arange(segments), np.arange(sides), indexing="ij")
    a, b = 2 * np.pi * i / segments, 2 * np.pi * j / sides
    ring = 1 + tube * np.cos(b)
    vertices = np.stack([ring * np.cos(a), ring * np.sin(a), tube * np.sin(b)], -1).reshape(-1, 3)

    def at(i, j):
        return (i % segments * sides + j % sides).reshape(-1)

    corners = at(i, j), at(i + 1, j), at(i + 1, j + 1), at(i, j + 1)
    faces = np.concatenate([np.stack([corners[k] for k in triangle], 1) for triangle in ((0, 1, 2), (0, 2, 3))])
    return vertices.astype(np.float32), faces.astype(np.int32)


def solid_mesh(kind: str, rng: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Build the mesh of a solid.

    Args:
      kind: name from SOLID_MESHES.
      rng: NumPy generator of the proportions and of a rotation about the z axis; None leaves both out.

    Returns:
      (vertices [V, 3] float32, faces [F, 3] int32), closed, normals outward.
    """
    return posed_solid_mesh(kind, rng)[:2]


def posed_solid_mesh(kind: str, rng: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Build the mesh of a solid as `solid_mesh` does, and return its rotation too.

    Args:
      kind: name from SOLID_MESHES.
      rng: NumPy generator of the proportions and of a rotation about the z axis; None leaves both out.

    Returns:
      (vertices [V, 3] float32, faces [F, 3] int32, rotation [3, 3] from the solid's canonical axes to those of the
      vertices). The canonical x axis is along the larger of the two horizontal extents, the z axis along the solid's.
    """
    check_choice("kind", kind, SOLID_MESHES)
    tube = 0.4 if rng is None else rng.uniform(0.25, 0.55)
    vertices, faces = torus_mesh(tube) if kind == "torus" else revolve_profile(*SOLID_MESHES[kind])
    if rng is None:
        return vertices, faces, np.eye(3)
    scale, angle = rng.uniform((0.6, 0.6, 0.6), (1.0, 1.0, 1.4)), rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    vertices = vertices * scale
    x_extent, y_extent, _ = np.ptp(vertices, 0)
    rotation = turn.T @ _QUARTER.T if y_extent > x_extent else turn.T
    return (vertices @ turn).astype(np.float32), faces, rotation


@whole_numbers
def solid_clouds(count: int, seed: int = 0, num_points: int = 256, noise: float = 0.02) -> Source:
    """Draw point clouds of solids with random proportions and rotations about the z axis.

    Args:
      count: N, number of clouds; the class of cloud i is i % len(SOLID_MESHES).
      seed: cloud i of a seed is the same whatever `count`.
      num_points: points of each cloud.
      noise: standard deviation of the Gaussian noise on each coordinate; clouds without noise lie in the unit sphere.

    Returns:
      A source of `points: [N, num_points, 3] float32` and `label: [N] int32`.
    """
    if count < 1 or num_points < 1 or not 0 <= noise < np.inf:
        allowed = "count and num_points of at least 1, noise of at least 0"
        raise ValueError(f"count={count}, num_points={num_points}, noise={noise}: out of range; allowed: {allowed}")
    kinds = tuple(SOLID_MESHES)
    label = np.arange(count, dtype=np.int32) % len(kinds)
    points = np.zeros((count, num_points, 3), np.float32)
    for i, kind in enumerate(label):
        rng = np.random.default_rng((seed, i))
        points[i] = mesh_points(*solid_mesh(kinds[kind], rng), num_points, rng)
        points[i] += noise * rng.standard_normal(points[i].shape)
    return Source({"points": points, "label": label}, class_names=kinds, name="solids")
