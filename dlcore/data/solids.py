"""Procedural solids with exact signed distance, occupancy, surface points and normals, and rendered RGB-D.

    sphere    |x| - r                                box   |max(q, 0)| + min(max q, 0),  q = |x| - half extents
    torus     |(ρ - R, z)| - r,  ρ = |(x, y)|        cylinder, cone   distance to the profile in the plane (ρ, z)

Distances are negative inside. The solids of a scene stand on a floor; camera axes are those of `dlcore.ops.camera`.
"""

from typing import Any, NamedTuple

import numpy as np

from dlcore.choices import check_choice
from dlcore.data.source import Source, whole_numbers
from dlcore.ops.camera import check_intrinsics
from dlcore.ops.checks import check_shapes

__all__ = ["SOLID_KINDS", "Solid", "occupancy_grid", "random_solid", "render_depth", "rgbd_scenes", "surface_points"]

SOLID_KINDS = ("sphere", "box", "cylinder", "cone", "torus")
_FIELD = 0.35
"""Tangent of half the field of view."""


class Solid(NamedTuple):
    """A solid by its kind, size and pose.

    Args:
      kind: one of SOLID_KINDS.
      size: [3]: radius of a sphere; half extents of a box; radius and half the height of a cylinder or of a cone, whose
        base is at the bottom; radius of a torus and of its tube. A kind with fewer than three lengths ignores the rest.
      rotation: [3, 3], from the solid's axes to the world's; the solid's axis of symmetry is z.
      center: [3], in world coordinates.
    """

    kind: str
    size: np.ndarray
    rotation: np.ndarray = np.eye(3)
    center: np.ndarray = np.zeros(3)

    def signed_distance(self, points: Any) -> Any:
        """Compute distances to the surface, negative inside.

        Args:
          points: [..., 3] in world coordinates, an array of NumPy or JAX.

        Returns:
          Signed distances [...], an array of the same library.
        """
        check_choice("kind", self.kind, SOLID_KINDS)
        if not np.all(np.asarray(self.size) > 0):
            raise ValueError(f"size={np.asarray(self.size).tolist()}: not positive; allowed: lengths above 0")
        xp = points.__array_namespace__()
        local = [sum((points[..., j] - self.center[j]) * self.rotation[j, i] for j in range(3)) for i in range(3)]
        if self.kind == "sphere":
            return _length(xp, *local) - self.size[0]
        if self.kind == "box":
            return _box(xp, [xp.abs(v) - s for v, s in zip(local, self.size, strict=True)])
        rho, z = _length(xp, *local[:2]), local[2]
        if self.kind == "torus":
            return _length(xp, rho - self.size[0], z) - self.size[1]
        if self.kind == "cylinder":
            return _box(xp, [rho - self.size[0], xp.abs(z) - self.size[1]])
        return _cone(xp, rho, z, self.size[0], self.size[1])


def _length(xp: Any, *v: Any) -> Any:
    squares = sum(x * x for x in v)
    return xp.sqrt(xp.where(squares > 0, squares, 1)) * (squares > 0)


def _box(xp: Any, q: list) -> Any:
    largest = q[0]
    for v in q[1:]:
        largest = xp.maximum(largest, v)
    return _length(xp, *(xp.maximum(v, 0) for v in q)) + xp.minimum(largest, 0)


def _cone(xp: Any, rho: Any, z: Any, radius: float, half: float) -> Any:
    """Return the distance to the triangle (0, -h), (r, -h), (0, h): the nearest point is on its base or on its side."""
    base = _length(xp, xp.maximum(rho - radius, 0), z + half)
    along = xp.clip(((radius - rho) * radius + (z + half) * 2 * half) / (radius**2 + 4 * half**2), 0, 1)
    side = _length(xp, rho - radius * (1 - along), z + half - 2 * half * along)
    inside = (z > -half) & (rho * 2 * half < radius * (half - z))
    return xp.minimum(base, side) * xp.where(inside, -1.0, 1.0)


def random_solid(rng: np.random.Generator, kind: str | None = None, upright: bool = False) -> Solid:
    """Draw a solid that fits into the unit ball around its center.

    Args:
      rng: NumPy generator.
      kind: one of SOLID_KINDS; None draws one at random.
      upright: whether to rotate about the vertical axis z only; False draws any rotation.

    Returns:
      The solid, centered at the origin.
    """
    kind = SOLID_KINDS[rng.integers(len(SOLID_KINDS))] if kind is None else kind
    check_choice("kind", kind, SOLID_KINDS)
    size = rng.uniform(0.35, 0.55, 3)
    if kind == "torus":
        size[1] = rng.uniform(0.3, 0.5) * size[0]
    if upright:
        angle = rng.uniform(0, 2 * np.pi)
        cos, sin = np.cos(angle), np.sin(angle)
        return Solid(kind, size, np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]), np.zeros(3))
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    q[:, 0] *= np.sign(np.linalg.det(q))
    return Solid(kind, size, q, np.zeros(3))


@whole_numbers
def occupancy_grid(solid: Solid, resolution: int, half_side: float = 1.0) -> np.ndarray:
    """Compute which cells of a cube around the origin have their center in a solid.

    Args:
      solid: solid in world coordinates.
      resolution: R, cells along each side.
      half_side: half the side of the cube.

    Returns:
      [R, R, R] bool with axes (x, y, z), True where occupied.
    """
    check_shapes(half_side=(half_side, "> 0"))
    check_shapes(half_side=(half_side, "finite"), resolution=(resolution, "int >= 1"))
    middle = ((np.arange(resolution) + 0.5) * 2 / resolution - 1) * half_side
    return solid.signed_distance(np.stack(np.meshgrid(middle, middle, middle, indexing="ij"), -1)) <= 0


def _normals(solid: Solid, points: np.ndarray, step: float = 1e-4) -> np.ndarray:
    """Compute unit normals [N, 3]: the gradient of the signed distance by central differences."""
    offsets = step * np.eye(3)
    slopes = [solid.signed_distance(points + o) - solid.signed_distance(points - o) for o in offsets]
    gradient = np.stack(slopes, -1)
    return gradient / np.maximum(np.linalg.norm(gradient, axis=-1, keepdims=True), 1e-12)


@whole_numbers
def surface_points(solid: Solid, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Sample points almost uniformly on a surface: uniform points of a thin shell, moved to the surface.

    Args:
      solid: solid whose points are within 1 of its center.
      count: number of points.
      rng: NumPy generator.

    Returns:
      (points [count, 3], normals [count, 3] outward), float32.
    """
    check_shapes(count=(count, "int >= 1"))
    samples = np.zeros((0, 3))
    while len(samples) < count:
        points = rng.uniform(-1, 1, (16384, 3)) + solid.center
        samples = np.concatenate([samples, points[np.abs(solid.signed_distance(points)) < 0.02]])
    points = samples[:count]
    for _ in range(2):
        points = points - solid.signed_distance(points)[:, None] * _normals(solid, points)
    return points.astype(np.float32), _normals(solid, points).astype(np.float32)


@whole_numbers
def render_depth(
    solids: list[Solid], intrinsics: np.ndarray, rotation: np.ndarray, translation: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Render solids on the floor z = 0 by sphere tracing: rays advance by the distance to the surface.

    Args:
      solids: solids in world coordinates, z up.
      intrinsics: [3, 3], camera intrinsics in pixels.
      rotation: [3, 3], world to camera.
      translation: [3], world to camera.
      height: height of the image in pixels.
      width: width of the image in pixels.

    Returns:
      (depth [H, W] along the optical axis, infinite where a ray hits nothing; normals [H, W, 3] in the camera's axes;
      index [H, W] int of the visible solid, len(solids) for the floor and where a ray hits nothing).
    """
    check_shapes(intrinsics=(intrinsics, "3 3"), rotation=(rotation, "3 3"), translation=(translation, "3"))
    check_shapes(height=(height, "int >= 1"), width=(width, "int >= 1"))
    check_intrinsics(intrinsics)
    v, u = np.mgrid[:height, :width]
    plane = np.stack([u, v, np.ones_like(u)], -1).reshape(-1, 3) @ np.linalg.inv(intrinsics).T
    length = np.linalg.norm(plane, axis=-1)
    center, directions = -rotation.T @ translation, plane @ rotation  # directions of depth 1, not of length 1
    down = np.minimum(directions[:, 2], -1e-12)
    depth = np.where(directions[:, 2] < 0, -center[2] / down, np.inf)  # of the floor
    label = np.full(len(depth), len(solids))
    normals = np.tile(rotation[:, 2], (len(depth), 1))
    for k, solid in enumerate(solids):
        t, active = np.zeros(len(depth)), np.arange(len(depth))
        radius = 1.5 * float(np.linalg.norm(solid.size))
        for _ in range(64):
            d = solid.signed_distance(center + t[active, None] * directions[active])
            t[active] += d / length[active]
            beyond = np.linalg.norm(center - solid.center) + radius
            active = active[(np.abs(d) > 1e-6) & (t[active] * length[active] < beyond)]
            if not len(active):
                break
        points = center + t[:, None] * directions
        hit = np.flatnonzero((np.abs(solid.signed_distance(points)) < 1e-4) & (t < depth))
        depth[hit], label[hit] = t[hit], k
        normals[hit] = _normals(solid, points[hit]) @ rotation.T
    return depth.reshape(height, width), normals.reshape(height, width, 3), label.reshape(height, width)


@whole_numbers
def rgbd_scenes(count: int, seed: int = 0, size: int = 32) -> Source:
    """Render scenes of one to three solids on a floor, each from a camera of random pitch and distance.

    Args:
      count: N, number of scenes.
      seed: scene i of a seed is the same whatever `count`.
      size: side of the images in pixels, at least 8.

    Returns:
      A source of `image: [N, size, size, 3] float32 in [0, 1]`, `depth: [N, size, size] float32`,
      `normals: [N, size, size, 3] float32` in the camera's axes, and `intrinsics: [N, 3, 3] float32` in pixels. Depth
      is along the optical axis.
    """
    check_shapes(count=(count, ">= 1"), size=(size, ">= 8"))
    focal, middle = size / (2 * _FIELD), (size - 1) / 2
    intrinsics = np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1]])
    image, depth = np.zeros((count, size, size, 3), np.float32), np.zeros((count, size, size), np.float32)
    normals = np.zeros((count, size, size, 3), np.float32)
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        solids = []
        for _ in range(rng.integers(1, 4)):
            solid = random_solid(rng, upright=True)
            bottom = {"sphere": 0, "box": 2}.get(solid.kind, 1)
            solids.append(solid._replace(center=np.array([*rng.uniform(-0.8, 0.8, 2), solid.size[bottom]])))
        pitch, distance = rng.uniform(0.6, 1.0), rng.uniform(3.0, 4.5)
        forward = np.array([0, np.cos(pitch), -np.sin(pitch)])
        rotation = np.stack([np.array([1.0, 0, 0]), np.cross(forward, [1.0, 0, 0]), forward])
        translation = -rotation @ (np.array([0, 0, 0.3]) - distance * forward)
        depth_map, slope, label = render_depth(solids, intrinsics, rotation, translation, size, size)
        light = rotation @ np.array([-0.48, -0.36, 0.8])
        colors = np.concatenate([rng.uniform(0.3, 1, (len(solids), 3)), np.full((1, 3), rng.uniform(0.4, 0.8))])
        image[i] = colors[label] * (0.25 + 0.75 * np.maximum(slope @ light, 0))[..., None]
        depth[i], normals[i] = depth_map, slope
    arrays = {"image": image, "depth": depth, "normals": normals}
    arrays["intrinsics"] = np.tile(intrinsics.astype(np.float32), (count, 1, 1))
    return Source(arrays, count, name="rgbd scenes")
