"""Films: short looping WebP animations inside the page."""

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np

from dlcore.ops.checks import check_shapes
from dlcore.report.panel import Panel
from dlcore.report.pictures import to_uint8

__all__ = ["MAX_BYTES", "film", "film_webp"]

MAX_BYTES = 300_000
"""Largest size of a film in bytes; longer films are compressed more."""
_SHORT = 6
_HOLD = 1500


def film_webp(frames: Sequence[np.ndarray], milliseconds: int = 250, max_bytes: int = MAX_BYTES) -> bytes:
    """Encode frames as an animation, losslessly if it fits.

    An animation that does not fit is compressed more; then every second frame is dropped, repeatedly.

    Args:
      frames: uint8 [H, W], [H, W, 1] or [H, W, 3] each, of one shape; at least one.
      milliseconds: duration of each frame; the last frame lasts 1.5 s.
      max_bytes: largest size in bytes; six frames remain even if they exceed it.

    Returns:
      The WebP file's content.
    """
    check_shapes(milliseconds=(milliseconds, "int >= 1"), max_bytes=(max_bytes, "int >= 1"))
    from PIL import Image

    frames = [np.asarray(frame) for frame in frames]
    if not frames or len({frame.shape for frame in frames}) > 1:
        shapes = sorted({frame.shape for frame in frames})
        raise ValueError(f"frames={shapes}: no frames of one shape; allowed: at least one, all of the same shape")
    if frames[0].dtype != np.uint8 or frames[0].ndim not in (2, 3):
        raise ValueError(f"frames={frames[0].dtype}{list(frames[0].shape)}: no pictures; allowed: uint8 [H, W, 3]")
    pictures = [Image.fromarray(f[..., 0] if f.ndim == 3 and f.shape[-1] == 1 else f).convert("RGB") for f in frames]
    while True:
        for options in ({"lossless": True, "quality": 60}, {"quality": 70}, {"quality": 40}):
            buffer = io.BytesIO()
            durations = [milliseconds] * (len(pictures) - 1) + [max(milliseconds, _HOLD)]
            more = {"save_all": True, "append_images": pictures[1:], "duration": durations, "loop": 0}
            pictures[0].save(buffer, "WEBP", **more, **options)
            if buffer.tell() <= max_bytes:
                return buffer.getvalue()
        if len(pictures) <= _SHORT:
            return buffer.getvalue()
        pictures, milliseconds = [*pictures[:-1:2], pictures[-1]], 2 * milliseconds


def film(
    frames: Sequence[np.ndarray], title: str, subtitle: str = "", milliseconds: int = 250, width: int = 560
) -> Panel:
    """Show frames as an animation.

    Args:
      frames: uint8 or float in [0, 1], [H, W], [H, W, 1] or [H, W, 3] each, of one shape; at least one.
      title: title of the panel.
      subtitle: a line under the title.
      milliseconds: duration of each frame.
      width: about the width in pixels; small frames are enlarged by an integer factor without smoothing.

    Returns:
      The panel, of half the page's width.
    """
    check_shapes(milliseconds=(milliseconds, "int >= 1"), width=(width, "int >= 1"))
    if not len(frames) or len({np.shape(frame) for frame in frames}) > 1:
        raise ValueError(
            f"frames={len(frames)}: none, or of several shapes; allowed: at least one, all of the same shape"
        )
    frames = list(to_uint8(np.stack([np.asarray(frame) for frame in frames])))
    data = base64.b64encode(film_webp(frames, milliseconds)).decode()
    shown_width = frames[0].shape[1] * max(1, round(width / frames[0].shape[1]))
    kind = ' class="smooth"' if shown_width == frames[0].shape[1] else ""
    image = f'<img{kind} alt="{escape(title)}" width="{shown_width}" src="data:image/webp;base64,{data}">'
    return Panel(title, image, subtitle, half=True)
