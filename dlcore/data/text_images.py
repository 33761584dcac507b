"""Images of short strings in several fonts, sizes and colors, to train text recognition (OCR).

The fonts are some of those that ship with matplotlib. Colors are random, but the luminances of text and background
differ by at least a third of the range. Image i of a seed is the same whatever the number of images.
"""

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from dlcore.choices import check_pair, check_whole_number
from dlcore.data.normalization import normalizer
from dlcore.data.source import Source, whole_numbers
from dlcore.data.splits import Splits
from dlcore.data.words import SPECIAL, Words, pad_sequences
from dlcore.learner import CheckedRecord, Range
from dlcore.setting import FlagError

__all__ = ["FONTS", "TextImages", "text_images"]

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


@dataclasses.dataclass(frozen=True)
class TextImages(CheckedRecord):
    """Images of strings that a program draws, in several fonts, sizes and colors.

    Args:
      alphabet: characters that strings are drawn from
      lengths: characters of the shortest and of the longest string
      image_size: height and width of the images, multiples of 8
      num_images: images for training; 500 more to validate, 1,000 to test
    """

    alphabet: Annotated[str, "essential"] = "0123456789"
    lengths: Annotated[tuple[int, int], Range(1)] = (3, 5)
    image_size: Annotated[tuple[int, int], Range(16)] = (24, 80)
    num_images: Annotated[int, Range(10)] = 8000

    reads_files: ClassVar[bool] = False

    def check(self, run: Any) -> None:
        """Check that the longest string fits into `--max_length`."""
        flags, longest = run.flags, self.lengths[1]
        if "max_length" in flags.given and flags.max_length <= longest:
            raise FlagError(
                f"--max_length={flags.max_length}: strings of {longest} characters and their end do not fit; "
                f"allowed: {longest + 1} or more"
            )

    def load(self) -> Splits:
        """Draw the images of three splits; training leaves out the strings of the other two."""
        options = {"alphabet": self.alphabet, "lengths": self.lengths, "size": self.image_size}
        # Seeds are not those of the run, so that every run is tested on the same images.
        test = text_images(min(1000, self.num_images), 2, **options)
        valid = text_images(min(500, self.num_images), 1, **options)
        train = text_images(self.num_images, 0, exclude={*test.names, *valid.names}, **options)
        mean = train.arrays["image"].mean((0, 1, 2)) / 255
        std = train.arrays["image"].std((0, 1, 2)) / 255
        spec = {
            "dataset": f"text images, {self.lengths[0]} to {self.lengths[1]} of {len(self.alphabet)} characters",
            "vocabulary": Words(tuple(self.alphabet)).to_dict(),
            "image_shape": [*self.image_size, 3],
            "mean": mean.tolist(),
            "std": std.tolist(),
        }
        return Splits(train, valid, test, spec)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique `preprocess` and `max_length`, of the longest string at least."""
        return {
            "preprocess": normalizer(run.facts.mean, run.facts.std, dtype=run.dtype),
            "max_length": max(run.parts.technique.keywords["max_length"], self.lengths[1] + 1),
        }
