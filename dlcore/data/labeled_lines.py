"""Labeled short texts: lines of a synthetic language of topics, lines of the embedded pages by text, or a file."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from dlcore.choices import check_choice
from dlcore.data.text import Vocabulary, embedded_pages, read_utf8
from dlcore.data.topics import NUM_TOPICS, LabeledLines, as_characters, topic_lines

__all__ = ["LABELED_TEXTS", "PAGE_TEXTS", "LabeledTexts", "labeled_texts", "page_lines"]

PAGE_TEXTS = {
    "Alice": ("Alice was beginning",),
    "Carroll's verse": ("'Twas brillig",),
    "sonnets": ("Shall I compare",),
    "plays": ("To be, or not",),
    "Bible": ("In the beginning",),
    "romantic verse": ("Tyger Tyger", "I wandered lonely"),
    "Gettysburg": ("Four score",),
    "novels": ("It is a truth",),
}
"""Class name -> the first words of each text of this class in the embedded pages."""
LABELED_TEXTS = ("topics", "pages", "file")
"""Names of data sets for `labeled_texts`."""

_NUM_TOPIC_LINES = 1500


class LabeledTexts(NamedTuple):
    """Texts with class labels.

    Args:
      texts: N texts.
      labels: [N] int32, indices into `class_names`.
      class_names: names of the classes.
    """

    texts: list[str]
    labels: np.ndarray
    class_names: tuple[str, ...]


def page_lines(length: int) -> LabeledLines:
    """Cut the embedded pages into lines, labeled by the text in which they begin.

    Args:
      length: number of characters of a line.

    Returns:
      The pages and the lines as tokens (one per character), and the lines' labels in the order of PAGE_TEXTS.

    Raises:
      ValueError: `length` is below 1, or above the number of characters of the pages.
    """
    text = embedded_pages()
    if not 1 <= length <= len(text):
        raise ValueError(f"length={length}: out of range; allowed: 1 to {len(text)}")
    vocabulary = Vocabulary.of(text)
    starts = sorted((text.index(words), label) for label, first in enumerate(PAGE_TEXTS.values()) for words in first)
    tokens = vocabulary.encode(text).astype(np.int32)
    count = len(tokens) // length
    index = np.searchsorted([position for position, _ in starts], length * np.arange(count), side="right") - 1
    labels = np.array([label for _, label in starts], np.int32)[index]
    return LabeledLines(tokens, tokens[: count * length].reshape(count, length), labels, len(vocabulary.characters))


def labeled_texts(name: str, length: int, data_dir: str | Path | None = None) -> LabeledTexts:
    """Load texts with labels by name.

    Args:
      name: "topics" (1,500 lines of a synthetic language, one character per word), "pages" (lines of the embedded
        pages) or "file" (the file `data_dir`).
      length: number of characters of a line of "topics" and "pages"; ignored for "file".
      data_dir: path of a UTF-8 file of lines `label TAB text`, for "file".

    Returns:
      The texts in their original order, with labels.

    Raises:
      ValueError: `name` is unknown, `data_dir` is missing, or a line has no label or no text, or all have one label.
      FileNotFoundError: the file does not exist.
    """
    check_choice("dataset", name, LABELED_TEXTS)
    if name == "topics":
        lines = topic_lines(length, _NUM_TOPIC_LINES)
        names = tuple(f"topic {k}" for k in range(NUM_TOPICS))
        return LabeledTexts([as_characters(row) for row in lines.tokens], lines.labels, names)
    if name == "pages":
        lines, vocabulary = page_lines(length), Vocabulary.of(embedded_pages())
        return LabeledTexts([vocabulary.decode(row) for row in lines.tokens], lines.labels, tuple(PAGE_TEXTS))
    if data_dir is None:
        raise ValueError("data_dir=None: missing; allowed: a file of lines `label TAB text`, for dataset 'file'")
    return _of_file(Path(data_dir))


def _of_file(path: Path) -> LabeledTexts:
    name = f"data_dir={str(path)!r}"
    if not path.is_file():
        raise FileNotFoundError(f"{name}: no such file; allowed: a file of lines `label TAB text`")
    pairs = []
    for number, line in enumerate(read_utf8(path, "data_dir").split("\n"), 1):
        label, _, text = (part.strip() for part in line.partition("\t"))
        if not line.strip():
            continue
        if not label or not text:
            raise ValueError(f"{name}: line {number} has no label or no text; allowed: lines `label TAB text`")
        pairs.append((label, text))
    class_names = sorted({label for label, _ in pairs})
    if len(class_names) < 2:
        raise ValueError(f"{name}: {len(class_names)} classes; allowed: texts of at least 2")
    labels = np.array([class_names.index(label) for label, _ in pairs], np.int32)
    return LabeledTexts([text for _, text in pairs], labels, tuple(class_names))
