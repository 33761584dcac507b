"""Triangle rasterizer with a depth buffer (z-buffer), in NumPy on the host.

The depth buffer interpolates a `nearness` that is linear in the image: 1 / depth under perspective projection, the
coordinate toward the viewer under orthographic projection. Each pixel shows the triangle of the largest nearness.
"""

import numpy as np

from dlcore.data.source import whole_numbers
from dlcore.ops.checks import check_finite, check_indices, check_shapes

__all__ = ["rasterize", "shade"]

_LIGHT = np.array([-0.4, -0.5, -0.77]) / np.linalg.norm([-0.4, -0.5, -0.77])
"""Unit vector toward the light, in the camera's axes (right, down, forward): behind the viewer, above, to the left."""


@whole_numbers
def rasterize(
    pixels: np.ndarray, nearness: np.ndarray, faces: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest triangle at the center of each pixel.

    Args:
      pixels: [V, 2], image coordinates (u right, v down) of the vertices in pixels; the center of the top left pixel is
        (0, 0).
      nearness: [V], linear in the image and larger where nearer: 1 / depth under perspective.
      faces: [F, 3] int, indices of the vertices.
      height: height of the image in pixels.
      width: width of the image in pixels.

    Returns:
      (index [height, width] int32 of the visible face, -1 where there is none; its nearness [height, width], -inf where
      there is none).
    """
    check_shapes(pixels=(pixels, "V 2"), nearness=(nearness, "V"), faces=(faces, "F 3"))
    check_shapes(height=(height, "int >= 1"), width=(width, "int >= 1"))
    check_finite("pixels", pixels)
    check_finite("nearness", nearness)
    check_indices("faces", faces, len(pixels), "vertices")
    face = np.full((height, width), -1, np.int32)
    nearest = np.full((height, width), -np.inf)
    corners = np.concatenate([pixels, nearness[:, None]], 1).astype(np.float64)[faces].reshape(-1, 3, 3)
    low = np.maximum(np.ceil(corners[:, :, :2].min(1)).astype(int), 0)
    high = np.minimum(np.floor(corners[:, :, :2].max(1)).astype(int), (width - 1, height - 1)) + 1
    a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    for k in np.flatnonzero((low < high).all(1) & (area != 0)):
        (left, top), (right, bottom) = low[k], high[k]
        px, py = np.arange(left, right)[None] - a[k, 0], np.arange(top, bottom)[:, None] - a[k, 1]
        u = (px * ac[k, 1] - py * ac[k, 0]) / area[k]
        v = (ab[k, 0] * py - ab[k, 1] * px) / area[k]
        z = a[k, 2] + u * ab[k, 2] + v * ac[k, 2]
        window = (slice(top, bottom), slice(left, right))
        inside = (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9) & (z > nearest[window])
        nearest[window][inside], face[window][inside] = z[inside], k
    return face, nearest


def shade(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Compute the brightness of each face: ambient plus Lambertian, equal for both sides of a face.

    Args:
      vertices: [V, 3] in the camera's axes (right, down, forward).
      faces: [F, 3] int, indices of the vertices.

    Returns:
      Brightness [F] in [0.3, 1].
    """
    check_shapes(vertices=(vertices, "V 3"), faces=(faces, "F 3"))
    check_indices("faces", faces, len(vertices), "vertices")
    corners = np.asarray(vertices, np.float64)[faces].reshape(-1, 3, 3)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return 0.3 + 0.7 * np.abs(normals @ _LIGHT)
