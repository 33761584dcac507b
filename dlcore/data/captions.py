"""Images with several captions each: one or two colored shapes that a program draws, or photographs from files.

    one shape    "a red circle at the top left"
    two shapes   "a red circle is left of a blue square", "a blue square is right of a red circle", ...

Each drawn image has four reference captions, and each of them is correct. Two shapes always share a row or a column, so
that one relation holds. The opening of a caption determines which shape it names first: the left or upper one ("a ...",
"the image shows a ..."), or the other ("there is a ...", "we see a ..."). So the image and the opening determine all
other words.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.data.scenes import SHAPES
from dlcore.data.shape_grid import COLORS, Placed, cell_names, check_grid, draw_shapes
from dlcore.data.source import Source, whole_numbers
from dlcore.data.words import PAD, BytePairs, Words, pad_sequences
from dlcore.ops.checks import check_shapes

__all__ = ["CAPTIONED_SHAPES", "REFERENCES", "caption_source", "caption_words", "captions", "named_objects"]

CAPTIONED_SHAPES = SHAPES[:4]
"""Names of the shapes in drawn images."""
REFERENCES = 4
"""Number of reference captions of a drawn image."""

_OPENINGS = ("", "there is ", "the image shows ", "we see ")
_INVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def caption_words() -> Words:
    """Build the vocabulary of the captions of drawn images.

    Returns:
      The vocabulary, the same for every seed and grid.
    """
    cells = " ".join(cell_names(3))
    relations = " ".join(_INVERSE)
    texts = [*COLORS, *CAPTIONED_SHAPES, *_OPENINGS, cells, relations, "a is at the"]
    return Words(tuple(sorted({word for text in texts for word in text.split()})))


@whole_numbers
def captions(count: int, seed: int = 0, *, size: int = 32, grid: int = 3, pairs: float = 0.75) -> Source:
    """Draw captioned images.

    The arrays are `image: [N, size, size, 3] uint8`, `captions: [N, R, T] int32` (R = 4 references, START w1 .. wn END
    PAD in the tokens of `caption_words()`), and `cells: [N, R, T] int32`: for a token that is the color or the name of
    a shape the grid cell of this shape, numbered row by row, and -1 for other tokens.

    Args:
      count: N, number of images.
      seed: random seed; image i depends on (seed, i) and not on `count`.
      size: side of an image in pixels, at least 8 * grid.
      grid: number of cells in a row and in a column, 2 or 3.
      pairs: probability that an image has two shapes, in [0, 1].

    Returns:
      The source.
    """
    check_shapes(count=(count, ">= 0"))
    check_grid(size, grid)
    names = cell_names(grid)
    check_shapes(pairs=(pairs, "0 to 1"))
    words = caption_words()
    image = np.zeros((count, size, size, 3), np.uint8)
    texts, cells = [], []
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        placed = _placed(rng, grid, 2 if rng.random() < pairs else 1)
        image[i] = draw_shapes(rng, placed, size, grid)
        several, where = zip(*_references(placed, grid, names), strict=True)
        texts.append([words.encode(text) for text in several])
        cells.append(where)
    length = max((len(text) for several in texts for text in several), default=0) + 2
    tokens = (
        np.stack([pad_sequences(several, length) for several in texts]) if texts else np.zeros((0, REFERENCES, 2), int)
    )
    at = np.full(tokens.shape, -1, np.int32)
    for row, several in zip(at, cells, strict=True):
        for reference, where in zip(row, several, strict=True):
            reference[1 : len(where) + 1] = where
    arrays = {"image": image, "captions": tokens.astype(np.int32), "cells": at}
    return Source(arrays, count, name="shapes with captions")


def named_objects(text: str) -> list[tuple[str, str]]:
    """Parse the shapes that a caption of `captions` names.

    Args:
      text: caption, such as "a red circle is right of a blue square".

    Returns:
      (color, shape) of each shape, the left or upper one first.
    """
    words = text.split()
    things = [(a, b) for a, b in itertools.pairwise(words) if a in COLORS and b in CAPTIONED_SHAPES]
    return things[::-1] if len(things) == 2 and ("right of" in text or "below" in words) else things


def _placed(rng: np.random.Generator, grid: int, number: int) -> list[Placed]:
    """Draw one shape, or two different ones in the same row or column."""
    colors, shapes = list(COLORS), list(CAPTIONED_SHAPES)
    kinds = rng.choice(len(colors) * len(shapes), number, replace=False)
    if number == 1:
        cells = [int(rng.integers(grid**2))]
    else:
        line, endpoints = rng.integers(grid), rng.choice(grid, 2, replace=False)
        along, across = (1, grid) if rng.random() < 0.5 else (grid, 1)
        cells = [int(line * across + k * along) for k in endpoints]
    return [Placed(colors[k // len(shapes)], shapes[k % len(shapes)], c) for k, c in zip(kinds, cells, strict=True)]


def _references(placed: list[Placed], grid: int, names: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Return the captions of an image: the text of each, and for each of its words the cell it names, or -1."""
    if len(placed) == 1:
        (only,) = placed
        parts = [("a", None), (f"{only.color} {only.shape}", only), (f"at the {names[only.cell]}", None)]
        sentences = [parts] * REFERENCES
    else:
        first, second = sorted(placed, key=lambda shape: shape.cell)  # the order of drawing is not visible
        relation = _relation(first.cell, second.cell, grid)
        ways = [(first, relation, second), (second, _INVERSE[relation], first)] * (REFERENCES // 2)
        sentences = [
            [
                ("a", None),
                (f"{a.color} {a.shape}", a),
                (f"is {how}" if not opening else how, None),
                ("a", None),
                (f"{b.color} {b.shape}", b),
            ]
            for opening, (a, how, b) in zip(_OPENINGS, ways, strict=True)
        ]
    references = []
    for opening, parts in zip(_OPENINGS, sentences, strict=True):
        pieces = [(opening.strip(), None), *parts]
        where = [-1 if thing is None else thing.cell for text, thing in pieces for _ in text.split()]
        references.append((" ".join(text for text, _ in pieces if text), where))
    return references


def _relation(a: int, b: int, grid: int) -> str:
    if a // grid == b // grid:
        return "left of" if a < b else "right of"
    return "above" if a < b else "below"


def caption_source(
    image: np.ndarray,
    texts: Sequence[Sequence[str]],
    vocabulary: Words | BytePairs,
    length: int | None = None,
    name: str = "captions",
    names: Sequence[str] | None = None,
) -> Source:
    """Build a source of images and tokenized captions: `image`, and `captions: [N, R, T] int32`.

    R is the largest number of captions of an image; the rows of images with fewer captions are filled up with PAD.

    Args:
      image: [N, H, W, 3] uint8.
      texts: captions of each of the N images.
      vocabulary: vocabulary of the captions.
      length: largest number of tokens of a caption, so that T = length + 2; longer captions are left out, and the
        source's notes say how many. None keeps all captions.
      name: name of the source.
      names: names of the N images; by default their positions.

    Returns:
      The source.
    """
    if length is not None:
        check_whole_number("length", length, 1)
    if texts_given := [i for i, several in enumerate(texts) if isinstance(several, str)]:
        raise ValueError(f"texts[{texts_given[0]}]: one text; allowed: a list of captions of each image")
    names = [str(i) for i in range(len(image))] if names is None else list(names)
    if not len(image) == len(texts) == len(names):
        raise ValueError(f"texts: of {len(texts)} images; allowed: {len(image)}, as images and names={len(names)}")
    encoded, left = [], 0
    for image_name, several in zip(names, texts, strict=True):
        if not several:
            raise ValueError(f"{name}: image {image_name} has no caption; allowed: one or more")
        rows = [vocabulary.encode(text) for text in several]
        if empty := [text for text, row in zip(several, rows, strict=True) if not len(row)]:
            raise ValueError(f"{name}: {image_name} has the caption {empty[0]!r}, without a word; allowed: one or more")
        short = [row for row in rows if length is None or len(row) <= length]
        if not short:
            raise ValueError(f"{length=}: all captions of {image_name} are longer; allowed: from {min(map(len, rows))}")
        left += len(rows) - len(short)
        encoded.append(short)
    references = max((len(rows) for rows in encoded), default=0)
    width = max((len(row) for rows in encoded for row in rows), default=0) + 2 if length is None else length + 2
    tokens = np.full((len(encoded), references, width), PAD, np.int32)
    for row, several in zip(tokens, encoded, strict=True):
        row[: len(several)] = pad_sequences(several, width)
    messages = (f"{name}: {left:,} captions of more than {length} tokens are left out",) if left else ()
    return Source({"image": image, "captions": tokens}, name=name, notes=messages, names=np.array(names, object))
