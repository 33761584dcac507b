"""Meshes and point sets in a report: shaded renderings from two views, by a small rasterizer.

The projection is orthographic. Faces are two-sided and shaded by a light beside the viewer; a point is a disc, darker
if it is farther.
"""

from collections.abc import Sequence

import numpy as np

from dlcore.choices import check_choice, check_whole_number
from dlcore.data.rasterizer import rasterize, shade
from dlcore.ops.checks import check_finite, check_indices, check_shapes
from dlcore.report.figure import BLUE, ORANGE, rgb
from dlcore.report.panel import Panel
from dlcore.report.pictures import examples

__all__ = ["VIEWS", "render_mesh", "render_points", "shape_panel", "two_views"]

VIEWS = ((35.0, 25.0), (125.0, 10.0))
"""(azimuth, elevation) in degrees of the two views."""
_BACKGROUND = 1.0
_SUPERSAMPLING = 2


def _camera(points: np.ndarray, view: tuple[float, float], up: str) -> np.ndarray:
    """Transform points [..., 3] to camera coordinates (right, up, toward the viewer)."""
    azimuth, elevation = np.deg2rad(view)
    axis = "xyz".index(up)
    x, y, z = (points[..., (axis + k) % 3] for k in (1, 2, 0))
    right = -np.sin(azimuth) * x + np.cos(azimuth) * y
    toward = np.cos(azimuth) * x + np.sin(azimuth) * y
    return np.stack(
        [right, np.cos(elevation) * z - np.sin(elevation) * toward, np.sin(elevation) * z + np.cos(elevation) * toward],
        -1,
    )


def _extent(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Compute center and half side of a cube that holds the points in every view."""
    if not len(points):
        return np.zeros(3), 1.0
    low, high = points.min(0), points.max(0)
    return (low + high) / 2, float(max(np.linalg.norm(high - low) / 2, 1e-9))


def _check(name: str, points: np.ndarray, view: tuple[float, float], size: int, up: str, extent: tuple | None) -> None:
    check_shapes(**{name: (points, "N 3")}, view=(view, "2"))
    check_finite(name, points)
    check_finite("view", view)
    check_whole_number("size", size, 1)
    check_choice("up", up, ("x", "y", "z"))
    if extent is not None:
        check_shapes(extent=(extent[0], "3"), half_side=(extent[1], "> 0"))


def render_mesh(
    vertices: np.ndarray,
    faces: np.ndarray,
    view: tuple[float, float] = VIEWS[0],
    size: int = 160,
    up: str = "z",
    color: str = BLUE,
    extent: tuple[np.ndarray, float] | None = None,
) -> np.ndarray:
    """Render a mesh with flat shading.

    Args:
      vertices: [V, 3].
      faces: [F, 3] int.
      view: (azimuth, elevation) of the viewer in degrees.
      size: side of the picture in pixels.
      up: vertical axis, "x", "y" or "z".
      color: "#rrggbb" of a face toward the light.
      extent: (center [3], half side) of what the picture shows; None fits the mesh.

    Returns:
      [size, size, 3] float in [0, 1], on white.
    """
    _check("vertices", vertices, view, size, up, extent)
    check_indices("faces", faces, len(vertices), "vertices")
    vertices, faces = np.asarray(vertices, np.float64), np.asarray(faces).reshape(-1, 3)
    side = size * _SUPERSAMPLING
    center, half = _extent(vertices) if extent is None else extent
    camera_points = _camera((vertices - center) / half, view, up)
    pixels = np.stack([(camera_points[:, 0] + 1) * side / 2 - 0.5, (1 - camera_points[:, 1]) * side / 2 - 0.5], 1)
    face, _ = rasterize(pixels, camera_points[:, 2], faces, side, side)
    # (right, up, toward the viewer) are (right, -down, -forward); the last color is the background.
    brightness = shade(camera_points * (1, -1, -1), faces)[:, None]
    colors = np.concatenate([brightness * np.array(rgb(color)) / 255, np.full((1, 3), _BACKGROUND)])
    return colors[face].reshape(size, _SUPERSAMPLING, size, _SUPERSAMPLING, 3).mean((1, 3))


def render_points(
    points: np.ndarray,
    view: tuple[float, float] = VIEWS[0],
    size: int = 160,
    up: str = "z",
    color: str = BLUE,
    highlighted: np.ndarray | None = None,
    extent: tuple[np.ndarray, float] | None = None,
) -> np.ndarray:
    """Render a point set as discs, the nearest in front.

    Args:
      points: [N, 3].
      view: (azimuth, elevation) of the viewer in degrees.
      size: side of the picture in pixels.
      up: vertical axis, "x", "y" or "z".
      color: "#rrggbb" of the nearest points.
      highlighted: [N] bool, points that are orange; None for none.
      extent: (center [3], half side) of what the picture shows; None fits the points.

    Returns:
      [size, size, 3] float in [0, 1], on white.
    """
    _check("points", points, view, size, up, extent)
    check_shapes(highlighted=(highlighted, f"{len(points)} or None"))
    points = np.asarray(points, np.float64)
    side = size * _SUPERSAMPLING
    image = np.full((side, side, 3), _BACKGROUND)
    center, half = _extent(points) if extent is None else extent
    camera_points = _camera((points - center) / half, view, up)
    radius = max(1, side // 90)
    offsets = np.arange(-radius, radius + 1)
    disc = np.stack(np.nonzero(np.add.outer(offsets**2, offsets**2) <= radius**2), 1) - radius
    is_highlighted = np.zeros(len(points), bool) if highlighted is None else np.asarray(highlighted, bool)
    base = np.where(is_highlighted[:, None], np.array(rgb(ORANGE)), np.array(rgb(color))) / 255
    colors = base * (0.75 + 0.25 * np.clip(camera_points[:, 2:], -1, 1))
    pixels = np.stack([(1 - camera_points[:, 1]) * side / 2, (camera_points[:, 0] + 1) * side / 2], 1).astype(int)
    for k in np.argsort(camera_points[:, 2], kind="stable"):
        rows, columns = (pixels[k] + disc).clip(0, side - 1).T
        image[rows, columns] = colors[k]
    return image.reshape(size, _SUPERSAMPLING, size, _SUPERSAMPLING, 3).mean((1, 3))


def two_views(
    points: np.ndarray,
    faces: np.ndarray | None = None,
    size: int = 160,
    up: str = "z",
    color: str = BLUE,
    highlighted: np.ndarray | None = None,
    extent: tuple[np.ndarray, float] | None = None,
) -> np.ndarray:
    """Render a shape from two views, side by side.

    Args:
      points: [N, 3], points, or vertices of a mesh.
      faces: [F, 3] int; None for a point set.
      size: side of each view in pixels.
      up: vertical axis, "x", "y" or "z".
      color: "#rrggbb".
      highlighted: [N] bool, points that are orange; of a point set only.
      extent: (center [3], half side) of what the pictures show; None fits the shape.

    Returns:
      [size, 2 size, 3] float in [0, 1].

    Raises:
      ValueError: see `render_mesh` and `render_points`.
    """
    if faces is None:
        images = [render_points(points, view, size, up, color, highlighted, extent) for view in VIEWS]
    else:
        images = [render_mesh(points, faces, view, size, up, color, extent) for view in VIEWS]
    return np.concatenate(images, 1)


def shape_panel(images: Sequence[np.ndarray], titles: Sequence[str], title: str, subtitle: str = "") -> Panel:
    """Show renderings with their titles.

    Args:
      images: [H, W, 3] in [0, 1] each, of one size.
      titles: one plain text per image.
      title: title of the panel.
      subtitle: a line under the panel's title.

    Returns:
      The panel.
    """
    if not len(images) or len({np.shape(image) for image in images}) > 1:
        raise ValueError(f"images={len(images)}: none, or of several sizes; allowed: at least one, all of one size")
    return examples(np.stack(images), titles, title, subtitle, len(images))
