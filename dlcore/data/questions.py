"""Visual question answering on images of colored shapes; the answer needs both the question and the image.

    color      "what color is the circle"                         image of four shapes: each of the four colors and each
    shape      "what shape is the red thing"                      of the four shapes once, in two pairs of nearest
    relation   "what shape is nearest to the red thing",          neighbors
               "what color is nearest to the circle"
    count      "how many red things are there",                   image of six shapes: the four colors occur 0, 1, 2 and
               "how many circles are there"                       3 times, and so do the four shapes

The four questions of one form have four different answers in an image, and each answer to a question is equally
probable over images. A model without the image, or without the question, is therefore right in at most one question of
four. CLEVR (Johnson et al. 2017, arXiv:1612.06890) and Sort-of-CLEVR (Santoro et al. 2017, arXiv:1706.01427) ask
similar questions. Question i of a seed is the same whatever the number of questions.
"""

import functools
import itertools
from collections.abc import Sequence

import numpy as np

from dlcore.choices import check_choice
from dlcore.data.scenes import SHAPES
from dlcore.data.shape_grid import COLORS, Placed, check_grid, draw_shapes
from dlcore.data.source import Source, whole_numbers
from dlcore.data.words import PAD, Words, pad_sequences
from dlcore.ops.checks import check_shapes

__all__ = ["ANSWERS", "KINDS", "answer_number", "question_tokens", "question_words", "questions"]

KINDS = ("color", "shape", "count", "relation")
_COLORS, _SHAPES, _COUNTS = tuple(COLORS)[:4], SHAPES[:4], ("0", "1", "2", "3")
ANSWERS = (*_COLORS, *_SHAPES, *_COUNTS)
_PLURALS = {shape: f"{shape}es" if shape.endswith("s") else f"{shape}s" for shape in _SHAPES}
_COLOR, _SHAPE, _COUNT = "what color is the {}", "what shape is the {} thing", "how many {} are there"
_NEAREST_SHAPE, _NEAREST_COLOR = "what shape is nearest to the {} thing", "what color is nearest to the {}"
_LONGEST = 8


def question_words() -> Words:
    """Collect the words of the questions.

    Returns:
      The vocabulary, the same for every seed.
    """
    templates = " ".join((_COLOR, _SHAPE, _COUNT, _NEAREST_SHAPE, _NEAREST_COLOR)).replace("{}", "")
    return Words(tuple(sorted({*templates.split(), *_COLORS, *_PLURALS, *_PLURALS.values(), "things"})))


@whole_numbers
def question_tokens(texts: Sequence[str], words: Words, length: int = _LONGEST) -> np.ndarray:
    """Turn questions into tokens.

    Args:
      texts: N questions.
      words: the vocabulary.
      length: Q, maximum number of words of a question.

    Returns:
      Tokens [N, Q] int32, w1 .. wn PAD.
    """
    for text in texts:
        if unknown := words.unknown(text):
            raise ValueError(f"question={text!r}: {unknown[0]!r} is unknown; allowed: {', '.join(words.words)}")
        if not 1 <= (number := len(words.encode(text))) <= length:
            raise ValueError(f"question={text!r}: {number} words; allowed: 1 to {length}")
    return pad_sequences([words.encode(text) for text in texts], length, start=False, end=False)


def answer_number(answer: str, answers: Sequence[str] = ANSWERS) -> int:
    """Look up the class index of an answer.

    Args:
      answer: a word, such as "red".
      answers: answers that a model can give, in the order of its classes.

    Returns:
      Index of `answer` in `answers`.
    """
    check_choice("answer", answer, answers)
    return list(answers).index(answer)


@whole_numbers
def questions(count: int, seed: int = 0, *, size: int = 32, grid: int = 3) -> Source:
    """Draw images, each with one question and its answer.

    The arrays are `image: [N, size, size, 3] uint8`, `question: [N, Q] int32` (w1 .. wn PAD, in the tokens of
    `question_words()`), `answer: [N] int32` (index into ANSWERS) and `kind: [N] int32` (index into KINDS).

    Args:
      count: N, number of questions.
      seed: question i of a seed is the same whatever `count`.
      size: side of an image in pixels, at least 8 per cell.
      grid: cells in a row and in a column, at least 3.

    Returns:
      The source.
    """
    check_shapes(count=(count, ">= 0"), grid=(grid, ">= 3"))
    check_grid(size, grid)
    words = question_words()
    image = np.zeros((count, size, size, 3), np.uint8)
    answer_id, kind = np.zeros((2, count), np.int32)
    texts = []
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        kind[i] = rng.integers(len(KINDS))
        placed = _counted(rng, grid) if KINDS[kind[i]] == "count" else _paired(rng, grid)
        text, right = _ask(rng, KINDS[kind[i]], placed, grid)
        image[i] = draw_shapes(rng, placed, size, grid)
        answer_id[i] = ANSWERS.index(right)
        texts.append(text)
    question = question_tokens(texts, words) if texts else np.full((0, _LONGEST), PAD, np.int32)
    arrays = {"image": image, "question": question, "answer": answer_id, "kind": kind}
    return Source(arrays, count, name="shapes with questions")


def _ask(rng: np.random.Generator, kind: str, placed: list[Placed], grid: int) -> tuple[str, str]:
    """Return a question about an image, and its answer."""
    thing = placed[rng.integers(len(placed))]
    if kind == "color":
        return _COLOR.format(thing.shape), thing.color
    if kind == "shape":
        return _SHAPE.format(thing.color), thing.shape
    is_first = rng.random() < 0.5
    if kind == "relation":
        near = placed[_nearest(tuple(p.cell for p in placed), grid)[placed.index(thing)]]
        if is_first:
            return _NEAREST_SHAPE.format(thing.color), near.shape
        return _NEAREST_COLOR.format(thing.shape), near.color
    color, shape = _COLORS[rng.integers(4)], _SHAPES[rng.integers(4)]
    if is_first:
        return _COUNT.format(f"{color} things"), str(sum(p.color == color for p in placed))
    return _COUNT.format(_PLURALS[shape]), str(sum(p.shape == shape for p in placed))


def _counted(rng: np.random.Generator, grid: int) -> list[Placed]:
    """Draw six shapes: the four colors occur 0, 1, 2 and 3 times, and so do the four names of shapes."""
    numbers = np.repeat(np.arange(4), np.arange(4))
    colors, shapes = rng.permutation(4)[numbers], rng.permutation(rng.permutation(4)[numbers])
    cells = rng.choice(grid**2, 6, replace=False)
    return [Placed(_COLORS[c], _SHAPES[s], int(cell)) for c, s, cell in zip(colors, shapes, cells, strict=True)]


def _paired(rng: np.random.Generator, grid: int) -> list[Placed]:
    """Draw four shapes of four colors and names, in two pairs of nearest neighbors."""
    positions = _places_of_pairs(grid)
    cells = rng.permutation(positions[rng.integers(len(positions))])
    kinds = zip(rng.permutation(4), rng.permutation(4), cells, strict=True)
    return [Placed(_COLORS[color], _SHAPES[shape], int(cell)) for color, shape, cell in kinds]


@functools.cache
def _places_of_pairs(grid: int) -> list[tuple[int, ...]]:
    """List the sets of four cells that are two pairs of nearest neighbors."""
    return [c for c in itertools.combinations(range(grid**2), 4) if sorted(_nearest(c, grid)) == [0, 1, 2, 3]]


@functools.cache
def _nearest(cells: tuple[int, ...], grid: int) -> tuple[int, ...]:
    """Return the index of each cell's nearest other cell; () if a cell has two at the same distance."""
    row, column = np.divmod(cells, grid)
    distance = np.square(row[:, None] - row) + np.square(column[:, None] - column)
    np.fill_diagonal(distance, 4 * grid**2)
    if ((distance == distance.min(1, keepdims=True)).sum(1) > 1).any():
        return ()
    return tuple(int(k) for k in distance.argmin(1))
