"""Procedural style images for style transfer: a mosaic of colored cells, wavy bands, and brush strokes."""

import numpy as np

from dlcore.choices import check_choice
from dlcore.data.source import whole_numbers
from dlcore.ops.checks import check_shapes

__all__ = ["STYLE_PATTERNS", "style_pattern"]

STYLE_PATTERNS = ("mosaic", "waves", "strokes")

_PALETTES = {
    "mosaic": ((196, 58, 49), (236, 182, 70), (40, 92, 140), (240, 232, 210), (32, 32, 40)),
    "waves": ((14, 54, 110), (34, 116, 165), (125, 190, 210), (245, 240, 222)),
    "strokes": ((48, 74, 38), (122, 148, 62), (214, 190, 96), (232, 120, 60), (90, 50, 90)),
}


@whole_numbers
def style_pattern(name: str, side: int, seed: int = 0) -> np.ndarray:
    """Draw a pattern.

    Args:
      name: mosaic (Voronoi cells with dark joints), waves (sinusoidal bands) or strokes (short bars of random slope).
      side: side of the image in pixels.
      seed: random seed of the positions and colors of mosaic and strokes; waves do not depend on it.

    Returns:
      [side, side, 3] uint8.
    """
    check_choice("name", name, STYLE_PATTERNS)
    check_shapes(side=(side, ">= 8"))
    rng, colors = np.random.default_rng(seed), np.array(_PALETTES[name], np.uint8)
    y, x = np.mgrid[:side, :side].astype(np.float64)
    if name == "waves":
        phase = (y + 3 * np.sin(x / 6) + 2 * np.sin(x / 11 + 1)) / 3
        return colors[np.floor(phase).astype(int) % len(colors)]
    if name == "mosaic":
        cells = max(4, side * side // 80)
        centers = rng.uniform(0, side, (cells, 2))
        distance = np.hypot(y[..., None] - centers[:, 0], x[..., None] - centers[:, 1])
        nearest, second = np.sort(distance, -1)[..., :2].transpose(2, 0, 1)
        image = colors[rng.integers(0, len(colors) - 1, cells)][distance.argmin(-1)]
        return np.where((second - nearest < 1)[..., None], colors[-1], image).astype(np.uint8)
    image = np.broadcast_to(colors[0], (side, side, 3)).copy()
    for _ in range(side * side // 12):
        cy, cx, angle = *rng.uniform(0, side, 2), rng.normal(0.6, 0.3)
        along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        image[(np.abs(along) < 6) & (np.abs(across) < 1)] = colors[rng.integers(len(colors))]
    return image
