"""Digits rendered from fonts, in the format of scikit-learn's handwritten digits: a synthetic domain with labels.

A digit is drawn in one of several fonts on 64 x 64 pixels, rotated, sheared and scaled at random, cropped to its
bounding box, resized to fill a square as the handwritten digits were, shifted a little, and averaged to 8 x 8. The
fonts ship with matplotlib.
"""

from pathlib import Path

import numpy as np

from dlcore.data.source import Source, whole_numbers

__all__ = ["FONTS", "font_digits"]

FONTS = (
    "DejaVuSans",
    "DejaVuSansMono",
    "DejaVuSans-Oblique",
    "DejaVuSerif",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralItalic",
    "cmss10",
    "cmtt10",
    "cmr10",
)
"""Font files of matplotlib, without their ending .ttf."""

_CANVAS, _FONT_SIZE, _SIDE, _LEVELS = 64, 40, 8, 16


@whole_numbers
def font_digits(
    count: int, seed: int = 0, *, rotation: float = 12.0, shear: float = 0.25, scale: float = 0.2, shift: float = 3.0
) -> Source:
    """Draw digits in random fonts.

    Args:
      count: N, number of images; image i shows the digit i mod 10.
      seed: random seed; image i depends on (seed, i) and not on `count`.
      rotation: largest angle of the rotation in degrees.
      shear: largest horizontal shear, the tangent of its angle.
      scale: largest change of width and of height, as a fraction of them.
      shift: largest shift along each axis, in 64ths of the image's side.

    Returns:
      A source of `image: [N, 8, 8, 1] float32 in [0, 1]` in steps of 1/16, `label: [N] int32` and `font: [N] int32`,
      an index of FONTS.
    """
    from matplotlib import get_data_path
    from PIL import Image, ImageDraw, ImageFont

    for name, value in {"count": count, "rotation": rotation, "shear": shear, "scale": scale, "shift": shift}.items():
        if not 0 <= value < np.inf:
            problem = "negative" if value < 0 else "not finite"
            raise ValueError(f"{name}={value}: {problem}; allowed: at least 0")
    folder = Path(get_data_path()) / "fonts" / "ttf"
    fonts = [ImageFont.truetype(str(folder / f"{name}.ttf"), _FONT_SIZE) for name in FONTS]
    image = np.zeros((count, _SIDE, _SIDE, 1), np.float32)
    label, font = (np.arange(count) % 10).astype(np.int32), np.zeros(count, np.int32)
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        font[i] = rng.integers(len(FONTS))
        angle = np.deg2rad(rotation) * rng.uniform(-1, 1)
        sheared, (width, height) = shear * rng.uniform(-1, 1), 1 + scale * rng.uniform(-1, 1, 2)
        move = shift * rng.uniform(-1, 1, 2)
        canvas = Image.new("L", (_CANVAS, _CANVAS))
        middle = _CANVAS / 2
        ImageDraw.Draw(canvas).text((middle, middle), str(label[i]), 255, font=fonts[font[i]], anchor="mm")
        # PIL takes the inverse map, from a position in the result to the position in the drawing.
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = np.linalg.inv(turn @ np.array([[1, sheared], [0, 1]]) @ np.diag([width, height]))
        offset = middle - matrix @ np.array([middle, middle])
        warped = canvas.transform(
            canvas.size,
            Image.Transform.AFFINE,
            (*matrix[0], offset[0], *matrix[1], offset[1]),
            Image.Resampling.BILINEAR,
        )
        # The digit's box fills the height of the square, as in the handwritten ones; it keeps its proportions.
        box = warped.getbbox()
        ratio = _CANVAS / max(box[2] - box[0], box[3] - box[1])
        size = [max(1, round(ratio * side)) for side in (box[2] - box[0], box[3] - box[1])]
        square = Image.new("L", (_CANVAS, _CANVAS))
        corner = [round((_CANVAS - side) / 2 + m) for side, m in zip(size, move, strict=True)]
        square.paste(warped.crop(box).resize(size, Image.Resampling.BILINEAR), corner)
        block = _CANVAS // _SIDE
        means = np.asarray(square, np.float32).reshape(_SIDE, block, _SIDE, block).mean((1, 3)) / 255
        image[i, ..., 0] = np.rint(_LEVELS * means) / _LEVELS
    arrays = {"image": image, "label": label, "font": font}
    return Source(arrays, count, class_names=tuple("0123456789"), name="font digits")
