"""Geometric maps of an image, and of the boxes, masks and points in it: affine, perspective, lens.

Coordinates are (x, y), x to the right and y down; pixel j covers [j, j + 1], so that its center is j + 1/2, and boxes
are corners in the same coordinates. A `Warp` is a map and its inverse:

    affine:       p' = c + t + R(degrees) Shear scale (p - c)       c: the image's center
                  R(a) = [[cos a, sin a], [-sin a, cos a]],  Shear = [[1, 0], [tan sy, 1]] [[1, tan sx], [0, 1]]
    perspective:  (x', y') = ((a x + b y + c) / (g x + h y + 1), (d x + e y + f) / (g x + h y + 1))
    lens:         p = c + (p' - c) (1 + k1 r^2 + k2 r^4),   r = |p' - c| / (half the diagonal)

A positive angle rotates the displayed image counter-clockwise. The lens is Brown's radial model (Brown 1966) with r
measured at the distorted position p': k1 > 0 gives barrel, k1 < 0 pincushion distortion. Pixels are read at the inverse
map; pixels outside the image count as 0 in the interpolation, as in torch's grid_sample.
"""

import itertools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_choice, check_pair
from dlcore.ops.checks import check_boxes, check_finite, check_shapes
from dlcore.ops.precision import acc_dtype_of, result_dtype, to_acc_dtype

__all__ = [
    "Warp",
    "affine_warp",
    "flip_warp",
    "lens_warp",
    "perspective_warp",
    "warp_boxes",
    "warp_image",
    "warp_points",
]

Number = float | jax.Array
Pair = tuple[Number, Number]
Points = Callable[[jax.Array], jax.Array]


_BEYOND = 1.05
"""Largest radius r', in half diagonals, up to which `lens_warp` inverts the distortion."""


class Warp(NamedTuple):
    """A map of points and its inverse.

    Args:
      forward: points [..., 2] (x, y) -> where they go.
      inverse: points [..., 2] (x, y) -> where they come from.
    """

    forward: Points
    inverse: Points

    def then(self, second: "Warp") -> "Warp":
        """Compose two maps, so that the image is interpolated once for both.

        Args:
          second: map that is applied after this one.

        Returns:
          The composed map.
        """
        return Warp(lambda p: second.forward(self.forward(p)), lambda p: self.inverse(second.inverse(p)))


def _check_size(size: tuple[int, int]) -> None:
    check_pair("size", size)
    for side in size:
        check_shapes(size=(side, "int >= 1"))


def affine_warp(
    size: tuple[int, int],
    degrees: Number = 0.0,
    translate: Pair = (0.0, 0.0),
    scale: Number | Pair = 1.0,
    shear: Number | Pair = 0.0,
    center: Pair | None = None,
) -> Warp:
    """Build an affine map, which scales, shears, rotates and translates; all numbers may be traced.

    torchvision's `affine` has the opposite signs for its angle and its shears: `affine(angle, ..., shear)` is
    `affine_warp(degrees=-angle, shear=-shear)`.

    Args:
      size: (H, W) of the image.
      degrees: angle of the rotation in degrees, counter-clockwise.
      translate: (right, down) in pixels.
      scale: one scale factor, or (horizontal, vertical).
      shear: angle of the horizontal shear in degrees (a positive one moves lower rows to the right), or (horizontal,
        vertical); the horizontal shear is applied first.
      center: (x, y) of the point that the map keeps before the translation; None is the center of the image.

    Returns:
      The map.
    """
    _check_size(size)
    shear = shear if isinstance(shear, tuple | list) else (shear, 0.0)
    scale = scale if isinstance(scale, tuple | list) else (scale, scale)
    center = (size[1] / 2, size[0] / 2) if center is None else center
    for name, pair in (("translate", translate), ("scale", scale), ("shear", shear), ("center", center)):
        check_pair(name, pair)
        for number in pair:
            check_shapes(**{name: (number, "finite")})
    (across, down), (scale_x, scale_y) = shear, scale
    for number in (scale_x, scale_y):
        if not isinstance(number, jax.core.Tracer) and number == 0:
            raise ValueError("scale=0: the map has no inverse; allowed: numbers other than 0")
    check_shapes(degrees=(degrees, "finite"))
    angle, sx, sy = (jnp.deg2rad(jnp.asarray(a, jnp.result_type(float, a))) for a in (degrees, across, down))
    cos, sin, zero = jnp.cos(angle), jnp.sin(angle), jnp.zeros_like(angle)
    rotation = jnp.stack([jnp.stack([cos, sin]), jnp.stack([-sin, cos])])
    tilt = jnp.stack([jnp.stack([1 + zero, jnp.tan(sx)]), jnp.stack([zero, 1 + zero])])
    lean = jnp.stack([jnp.stack([1 + zero, zero]), jnp.stack([jnp.tan(sy), 1 + zero])])
    matrix = _product(rotation, _product(lean, tilt)) * jnp.stack([scale_x * (1 + zero), scale_y * (1 + zero)])
    (a, b), (c, d) = matrix
    inverse = jnp.stack([jnp.stack([d, -b]), jnp.stack([-c, a])]) / (a * d - b * c)
    middle = jnp.stack([jnp.asarray(v, matrix.dtype) for v in center])
    offset = jnp.stack([jnp.asarray(v, matrix.dtype) for v in translate])
    return Warp(
        lambda p: _apply(matrix, p - middle) + middle + offset, lambda p: _apply(inverse, p - middle - offset) + middle
    )


def flip_warp(size: tuple[int, int], horizontal: bool | jax.Array = True, vertical: bool | jax.Array = False) -> Warp:
    """Build a map that mirrors an image; both flags may be traced.

    Args:
      size: (H, W) of the image.
      horizontal: mirror left and right.
      vertical: mirror top and bottom.

    Returns:
      The map.
    """
    _check_size(size)
    mirrored, extent = jnp.stack([jnp.asarray(horizontal), jnp.asarray(vertical)]), jnp.array([size[1], size[0]])

    def flip(p: jax.Array) -> jax.Array:
        return jnp.where(mirrored, extent.astype(p.dtype) - p, p)

    return Warp(flip, flip)


def perspective_warp(start: jax.Array, end: jax.Array) -> Warp:
    """Build the perspective map (homography) that moves four points to four others.

    No three of the points may lie on a line. With torchvision's corners, [[0, 0], [W - 1, 0], [W - 1, H - 1],
    [0, H - 1]], the map equals torchvision's.

    Args:
      start: [4, 2], the points (x, y).
      end: [4, 2], the positions (x, y) that they move to.

    Returns:
      The map.
    """
    start, end = to_acc_dtype(start), to_acc_dtype(end)
    if start.shape != (4, 2) or end.shape != (4, 2):
        raise ValueError(f"start and end have shapes {start.shape} and {end.shape}; allowed: [4, 2] each")
    for name, points in (("start", start), ("end", end)):
        if not isinstance(points, jax.core.Tracer):
            check_finite(name, points)
            triangles = np.array([*itertools.combinations(np.asarray(points, np.float64), 3)])  # [4, 3, 2]
            areas = np.abs(np.linalg.det(triangles[:, 1:] - triangles[:, :1]))
            if (areas <= 1e-6 * areas.max()).any():
                raise ValueError(f"{name}={np.asarray(points).tolist()}: three on a line; allowed: no three on a line")
    return Warp(_homography(start, end), _homography(end, start))


def lens_warp(size: tuple[int, int], k1: Number = 0.0, k2: Number = 0.0, steps: int = 12) -> Warp:
    """Build a radial lens distortion; its `forward` map is solved by Newton's method.

    r' (1 + k1 r'^2 + k2 r'^4) must increase up to r' = 1.05, which needs k1 > -0.3023 where k2 = 0. Points that a
    pincushion would move beyond r' = 1.05, just outside the image's corners, are moved to r' = 1.05. Traced
    coefficients are not checked.

    Args:
      size: (H, W) of the image.
      k1: coefficient of r^2; above 0 gives barrel, below 0 pincushion distortion.
      k2: coefficient of r^4.
      steps: number of Newton iterations.

    Returns:
      The map.
    """
    _check_size(size)
    check_shapes(steps=(steps, "int >= 1"), k1=(k1, "finite"), k2=(k2, "finite"))
    if not any(isinstance(k, jax.core.Tracer) for k in (k1, k2)):
        u = np.linspace(0, _BEYOND**2, 100)
        if not (slope := (1 + 3 * k1 * u + 5 * k2 * u * u).min()) > 0:
            allowed = f"1 + 3 k1 u + 5 k2 u^2 above 0 for u in [0, {_BEYOND**2:.4g}]"
            raise ValueError(f"k1={k1}, k2={k2}: the map folds, it falls to {slope:.3g}; allowed: {allowed}")
    middle = jnp.array([size[1] / 2, size[0] / 2])
    half = (size[0] ** 2 + size[1] ** 2) ** 0.5 / 2

    def inverse(p: jax.Array) -> jax.Array:
        d = p - middle
        r2 = jnp.square(d / half).sum(-1, keepdims=True)
        return middle + d * (1 + k1 * r2 + k2 * r2 * r2)

    def forward(p: jax.Array) -> jax.Array:
        d = p - middle
        target = jnp.linalg.norm(d, axis=-1, keepdims=True) / half
        r = jnp.minimum(target, _BEYOND)
        for _ in range(steps):
            r2 = r * r
            r = r - (r * (1 + k1 * r2 + k2 * r2 * r2) - target) / (1 + 3 * k1 * r2 + 5 * k2 * r2 * r2)
            r = jnp.clip(r, 0, _BEYOND)
        return middle + d * jnp.where(target > 0, r / jnp.where(target > 0, target, 1), 1)

    return Warp(forward, inverse)


def warp_image(
    image: jax.Array, warp: Warp, interpolation: Literal["bilinear", "nearest"] = "bilinear", fill: Number | None = None
) -> jax.Array:
    """Warp an image by a map; the size of the image stays the same.

    Args:
      image: [H, W, C]; uint8 is interpolated in float32 and rounded.
      warp: the map.
      interpolation: bilinear, or nearest for masks, whose values must stay class numbers.
      fill: value of pixels from outside the image, a number or [C]; None is 0. The result is m y + (1 - m) fill as in
        torchvision, where y is the interpolated value with 0 outside, and m the interpolated mask of the image: the
        image is thus weighted by m twice.

    Returns:
      [H, W, C] of the same dtype.
    """
    check_choice("interpolation", interpolation, ("bilinear", "nearest"))
    check_shapes(image=(image, "H W C"), fill=(fill, "C finite" if np.ndim(fill) else "finite or None"))
    image = jnp.asarray(image)
    height, width, _ = image.shape
    real = acc_dtype_of(image.dtype) if jnp.issubdtype(image.dtype, jnp.inexact) else jnp.float32
    y, x = jnp.meshgrid(jnp.arange(height, dtype=real) + 0.5, jnp.arange(width, dtype=real) + 0.5, indexing="ij")
    source = warp.inverse(jnp.stack([x, y], -1)) - 0.5
    out, inside = (_nearest if interpolation == "nearest" else _bilinear)(image, source[..., 1], source[..., 0])
    if fill is not None:
        out = out * inside + (1 - inside) * jnp.asarray(fill, out.dtype)
    return out if out.dtype == image.dtype else jnp.clip(jnp.round(out), 0, 255).astype(image.dtype)


def _nearest(image: jax.Array, y: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    value, inside = _pixels(image, jnp.round(y), jnp.round(x))
    return jnp.where(inside, value, 0), inside.astype(image.dtype)


def _bilinear(image: jax.Array, y: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Interpolate the values [..., C] at pixel indices y and x, 0 outside, and the mask [..., 1] of the image."""
    dtype = image.dtype if jnp.issubdtype(image.dtype, jnp.inexact) else jnp.float32
    top, left = jnp.floor(y), jnp.floor(x)
    out, total_weight = jnp.zeros((*y.shape, image.shape[-1]), dtype), jnp.zeros((*y.shape, 1), dtype)
    for row, row_weight in ((top, top + 1 - y), (top + 1, y - top)):
        for column, column_weight in ((left, left + 1 - x), (left + 1, x - left)):
            value, inside = _pixels(image, row, column)
            weight = jnp.where(inside, (row_weight * column_weight)[..., None], 0).astype(dtype)
            out, total_weight = out + weight * value.astype(dtype), total_weight + weight
    return out, total_weight


def _pixels(image: jax.Array, row: jax.Array, column: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the pixels [..., C] at whole indices, clamped to the border, and whether they are inside [..., 1]."""
    height, width, channels = image.shape
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    position = _index(row, height) * width + _index(column, width)
    return image.reshape(height * width, channels).at[position].get(mode="clip"), inside[..., None]


def warp_points(points: jax.Array, warp: Warp) -> jax.Array:
    """Move points by a map.

    Args:
      points: [..., 2] (x, y).
      warp: the map.

    Returns:
      [..., 2].
    """
    check_shapes(points=(points, "... 2"))
    return warp.forward(to_acc_dtype(points)).astype(result_dtype(points))


def warp_boxes(
    boxes: jax.Array, warp: Warp, size: tuple[int, int], valid: jax.Array | None = None, keep: float = 0.0
) -> tuple[jax.Array, jax.Array]:
    """Warp boxes by a map: the smallest axis-aligned boxes around the warped ones, clipped to the image.

    Each side of a box is sampled at five points, so that curved sides are enclosed to within about a pixel.

    Args:
      boxes: [M, 4] (x0, y0, x1, y1) in pixels; those of integers become float32.
      warp: the map.
      size: (H, W) of the image.
      valid: [M], false for boxes that are padding; None: all are valid.
      keep: fraction of a warped box's area, in [0, 1], that must be inside the image for the box to stay valid; a box
        with no area inside is never valid.

    Returns:
      (boxes [M, 4], valid [M]).
    """
    _check_size(size)
    check_shapes(boxes=(boxes, "M 4"), valid=(valid, "M or None"), keep=(keep, "0 to 1"))
    check_boxes("boxes", boxes, valid)
    dtype, boxes = result_dtype(jnp.asarray(boxes)), to_acc_dtype(boxes)
    x0, y0, x1, y1 = jnp.moveaxis(boxes, -1, 0)
    t = jnp.linspace(0, 1, 5, dtype=boxes.dtype)[:, None]
    across, down = x0 + t * (x1 - x0), y0 + t * (y1 - y0)
    sides = [(across, y0 + 0 * t), (across, y1 + 0 * t), (x0 + 0 * t, down), (x1 + 0 * t, down)]
    moved = warp.forward(jnp.concatenate([jnp.stack(side, -1) for side in sides]))
    low, high = moved.min(0), moved.max(0)
    edge = jnp.array([size[1], size[0]], boxes.dtype)
    inside = jnp.concatenate([jnp.clip(low, 0, edge), jnp.clip(high, 0, edge)], -1)
    area, whole = (jnp.prod(b[..., 2:] - b[..., :2], -1) for b in (inside, jnp.concatenate([low, high], -1)))
    stays = (area >= keep * whole) & (area > 0)
    valid = jnp.ones(boxes.shape[:1], bool) if valid is None else valid
    return inside.astype(dtype), valid * stays.astype(valid.dtype)


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    """Matrix product in full precision, also where the accelerator's default is less."""
    return (a[:, :, None] * b[None]).sum(1)


def _apply(matrix: jax.Array, p: jax.Array) -> jax.Array:
    x, y = p[..., 0], p[..., 1]
    return jnp.stack([matrix[0, 0] * x + matrix[0, 1] * y, matrix[1, 0] * x + matrix[1, 1] * y], -1)


def _homography(start: jax.Array, end: jax.Array) -> Points:
    (x, y), (u, v) = start.T, end.T
    one, zero = jnp.ones_like(x), jnp.zeros_like(x)
    rows = [
        jnp.stack([x, y, one, zero, zero, zero, -u * x, -u * y], -1),
        jnp.stack([zero, zero, zero, x, y, one, -v * x, -v * y], -1),
    ]
    a, b, c, d, e, f, g, h = jnp.linalg.solve(jnp.concatenate(rows), jnp.concatenate([u, v]))

    def apply(p: jax.Array) -> jax.Array:
        x, y = p[..., 0], p[..., 1]
        depth = g * x + h * y + 1
        return jnp.stack([(a * x + b * y + c) / depth, (d * x + e * y + f) / depth], -1)

    return apply


def _index(coordinate: jax.Array, size: int) -> jax.Array:
    return jnp.clip(coordinate, 0, size - 1).astype(jnp.int32)
