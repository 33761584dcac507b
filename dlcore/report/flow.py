"""Optical flow as colors: hue is direction, saturation is magnitude; a color wheel is the key.

    hue = angle of (right, down) over a full turn        saturation = |flow| / largest        no motion: white

Baker et al. 2011, "A database and evaluation methodology for optical flow", uses another color wheel; here the hues are
those of HSV, evenly spaced.
"""

from collections.abc import Sequence

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.report.panel import Panel

__all__ = ["color_wheel", "flow_colors", "flow_panel"]


def flow_colors(flow: np.ndarray, largest: float | None = None) -> np.ndarray:
    """Color a flow field.

    Args:
      flow: [..., H, W, 2], (right, down) in pixels.
      largest: magnitude at full saturation, in pixels; None takes the field's largest.

    Returns:
      [..., H, W, 3] float32 in [0, 1]: red is right, yellow-green down, cyan left, violet up; white is no motion.
    """
    flow = np.asarray(flow, np.float32)
    if flow.ndim < 3 or flow.shape[-1] != 2:
        raise ValueError(f"flow.shape={flow.shape}: no flow field; allowed: [..., H, W, 2]")
    if not np.isfinite(flow).all():
        raise ValueError("flow: a number is not finite; allowed: pixels")
    if largest is not None and not largest > 0:
        raise ValueError(f"largest={largest}: out of range; allowed: above 0")
    length = np.hypot(flow[..., 0], flow[..., 1])
    largest = float(length.max(initial=0)) or 1.0 if largest is None else largest
    hue = np.arctan2(flow[..., 1], flow[..., 0]) / (2 * np.pi) % 1
    saturation = np.minimum(length / largest, 1)[..., None]
    # RGB of an HSV hue: three triangle functions, a third of a turn apart.
    pure = np.clip(np.abs((6 * hue[..., None] + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return (1 - saturation * (1 - pure)).astype(np.float32)


def color_wheel(size: int = 64) -> np.ndarray:
    """Draw the color wheel: each pixel has the color of its offset from the center.

    Args:
      size: side in pixels.

    Returns:
      [size, size, 3] float32 in [0, 1]; white outside the circle.
    """
    check_whole_number("size", size, 1)
    offsets = (np.arange(size) - (size - 1) / 2) / (size / 2)
    flow = np.stack(np.meshgrid(offsets, offsets), -1)
    inside = np.hypot(flow[..., 0], flow[..., 1]) <= 1
    return np.where(inside[..., None], flow_colors(flow, 1.0), 1).astype(np.float32)


def flow_panel(frames: Sequence[np.ndarray], flows: Sequence[np.ndarray], title: str) -> Panel:
    """Show frames, their flow fields, and the color wheel.

    Args:
      frames: [H, W, 3] each, uint8 or float in [0, 1].
      flows: [H, W, 2] each, one per frame.
      title: title of the panel.

    Returns:
      The panel.
    """
    from dlcore.report.generative import sample_rows
    from dlcore.report.pictures import to_uint8

    if not len(frames) or len(frames) != len(flows):
        raise ValueError(f"flows={len(flows)} fields: {len(frames)} frames; allowed: one for each frame, at least one")
    for frame, flow in zip(frames, flows, strict=True):
        if np.shape(flow) != (*np.shape(frame)[:2], 2) or not np.isfinite(flow).all():
            raise ValueError(
                f"flows: {np.shape(flow)} for a frame {np.shape(frame)}; allowed: finite [H, W, 2] of its size"
            )
    largest = max(float(np.hypot(*np.moveaxis(np.asarray(flow), -1, 0)).max()) for flow in flows) or 1.0
    height, width = np.shape(frames[0])[:2]
    size = min(height, width)
    wheel = np.ones((height, len(frames) * (width + 1) - 1, 3), np.float32)  # as wide as the row of frames
    wheel[:size, :size] = color_wheel(size)
    colors = [flow_colors(flow, largest) for flow in flows]
    rows = {"frames": to_uint8(np.stack([*frames])), "flow": to_uint8(np.stack(colors)), "key": to_uint8(wheel[None])}
    return sample_rows(
        rows, title, f"Hue: direction, as on the wheel; saturation: up to {largest:.1f} pixels per frame."
    )
