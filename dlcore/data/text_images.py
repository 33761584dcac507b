"""Images of short strings in several fonts, sizes and colors, to train text recognition (OCR).

The fonts are some of those that ship with matplotlib. Colors are random, but the luminances of text and background
differ by at least a third of the range. Image i of a seed is the same whatever the number of images.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from dlcore.choices import check_pair, check_whole_number
from dlcore.data.source import Source, check_seed, whole_numbers
from dlcore.data.words import SPECIAL, pad_sequences

__all__ = ["FONTS", "text_images"]

FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSerif",
    "DejaVuSerif-BoldItalic",
    "STIXGeneral",
    "cmtt10",
)
_LUMINANCE = np.array([0.299, 0.587, 0.114])
_CONTRAST = 85


@whole_numbers
def text_images(
    count: int,
    seed: int = 0,
    *,
    alphabet: str = "0123456789",
    lengths: tuple[int, int] = (3, 5),
    size: tuple[int, int] = (24, 80),
    font_sizes: tuple[int, int] = (15, 20),
    exclude: Collection[str] = (),
) -> Source:
    """Draw strings of random characters at random positions.

    The arrays are `image: [N, height, width, 3] uint8`, `captions: [N, 1, T] int32` (START c1 .. cn END PAD; character
    i of the alphabet is the token 4 + i), and `font: [N] int32`, an index into FONTS.

    Args:
      count: N, number of images.
      seed: image i of one seed is the same whatever `count`.
      alphabet: characters to draw from, each once.
      lengths: (shortest, longest) string in characters.
      size: (height, width) of an image, in pixels.
      font_sizes: (smallest, largest) size of the font, in pixels.
      exclude: strings that must not occur, such as those of the test split.

    Returns:
      The source; `names` are the strings.
    """
    from matplotlib import get_data_path
    from PIL import Image, ImageDraw, ImageFont

    check_seed(seed)
    for name, pair in (("lengths", lengths), ("size", size), ("font_sizes", font_sizes)):
        check_pair(name, pair)
        for number in pair:
            check_whole_number(name, number, 1)
    if font_sizes[0] > font_sizes[1]:
        raise ValueError(f"font_sizes={font_sizes}: no range; allowed: (smallest, largest)")
    if not alphabet or len(set(alphabet)) < len(alphabet):
        raise ValueError(f"alphabet={alphabet!r}: empty, or a character twice; allowed: each character once")
    if not 1 <= lengths[0] <= lengths[1]:
        raise ValueError(f"lengths={lengths}: no range; allowed: (shortest, longest), at least 1")
    possible = sum(len(alphabet) ** n for n in range(lengths[0], lengths[1] + 1))
    exclude = frozenset(exclude)
    if len(exclude) >= possible:
        raise ValueError(f"exclude: {len(exclude)} of {possible} strings; allowed: fewer than all")
    folder = Path(get_data_path()) / "fonts" / "ttf"
    fonts = {}
    height, width = size
    images, texts, names = np.zeros((count, height, width, 3), np.uint8), [], []
    drawn_in = np.zeros(count, np.int32)
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        # A string of the alphabet that is not excluded.
        text = ""
        while not text or text in exclude:
            length = rng.integers(lengths[0], lengths[1] + 1)
            text = "".join(alphabet[j] for j in rng.integers(len(alphabet), size=length))
        # A font, a size, and two colors that can be told apart.
        drawn_in[i], points = rng.integers(len(FONTS)), int(rng.integers(font_sizes[0], font_sizes[1] + 1))
        key = (FONTS[drawn_in[i]], points)
        if key not in fonts:
            fonts[key] = ImageFont.truetype(str(folder / f"{key[0]}.ttf"), points)
        background, color = rng.integers(256, size=(2, 3))
        while abs((background - color) @ _LUMINANCE) < _CONTRAST:
            background, color = rng.integers(256, size=(2, 3))
        # A position at which all of the string is inside.
        left, top, right, bottom = fonts[key].getbbox(text)
        slack = width - (right - left), height - (bottom - top)
        if min(slack) < 0:
            raise ValueError(f"{size=}: {text!r} is {right - left} x {bottom - top} pixels; allowed: room for all")
        x, y = rng.integers(slack[0] + 1), rng.integers(slack[1] + 1)
        image = Image.new("RGB", (width, height), tuple(map(int, background)))
        ImageDraw.Draw(image).text((x - left, y - top), text, tuple(map(int, color)), font=fonts[key])
        images[i] = image
        texts.append([alphabet.index(c) + len(SPECIAL) for c in text])
        names.append(text)
    arrays = {"image": images, "captions": pad_sequences(texts, lengths[1] + 2)[:, None], "font": drawn_in}
    return Source(arrays, count, names=np.array(names, str), name="text images")
