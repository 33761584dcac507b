"""Labeled short texts: lines of a synthetic language of topics, lines of the embedded pages by text, or a file."""

import collections
import csv
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dlcore.choices import check_choice, check_whole_number
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
_LABEL_COLUMN = {"label", "labels", "class", "category", "target", "sentiment"}
_TEXT_COLUMN = {"text", "texts", "sentence", "content", "review", "message", "document"}


class LabeledTexts(NamedTuple):
    """Texts with class labels.

    Args:
      texts: N texts.
      labels: [N] int32, indices into `class_names`.
      class_names: names of the classes.
      notes: messages about what was found in a file, one line each.
    """

    texts: list[str]
    labels: np.ndarray
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def page_lines(length: int) -> LabeledLines:
    """Cut the embedded pages into lines, labeled by the text in which they begin.

    Args:
      length: number of characters of a line.

    Returns:
      The pages and the lines as tokens (one per character), and the lines' labels in the order of PAGE_TEXTS.
    """
    check_whole_number("length", length)
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
      data_dir: path of a UTF-8 file of lines `label TAB text`, for "file"; a first line of such words as these is left
        out as a header, and quotes as csv has them are removed.

    Returns:
      The texts in their original order, with labels.

    Raises:
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
    rows, is_quoted = _rows(read_utf8(path, "data_dir"))
    pairs, messages = [], ()
    for number, label, text in rows:
        if not label or not text:
            raise ValueError(f"{name}: line {number} has no label or no text; allowed: lines `label TAB text`")
        pairs.append((label, text))
    if is_quoted:
        messages += (f"{path.name}: labels and texts in quotes were read without them, as csv has it",)
    first, second = (cell.lower() for cell in pairs[0]) if pairs else ("", "")
    if first in _TEXT_COLUMN and second in _LABEL_COLUMN:
        raise ValueError(f"{name}: its columns are {first}, {second}; allowed: lines `label TAB text`")
    if first in _LABEL_COLUMN and second in _TEXT_COLUMN:
        messages += (f"{path.name}: the first line, {' TAB '.join(pairs[0])}, was left out as a header",)
        pairs = pairs[1:]
    counts = collections.Counter(label for label, _ in pairs)
    class_names, num_texts = sorted(counts), len({text for _, text in pairs})
    if len(class_names) < 2:
        raise ValueError(f"{name}: {len(class_names)} classes; allowed: texts of at least 2")
    if num_texts < len(class_names) or len(class_names) == len(pairs):
        sizes = f"{len(class_names)} labels and {num_texts} texts in {len(pairs)} lines"
        raise ValueError(
            f"{name}: {sizes}; allowed: lines `label TAB text`, the label first, and several texts a label"
        )
    if single := sum(count == 1 for count in counts.values()):
        messages += (f"{path.name}: {single} of {len(class_names)} classes have one text alone",)
    distinct = set(pairs)
    if repeated := len(pairs) - len(distinct):
        messages += (f"{path.name}: {repeated} of {len(pairs)} lines repeat another and may be trained on and tested",)
    if several := sum(count > 1 for count in collections.Counter(text for _, text in distinct).values()):
        messages += (f"{path.name}: {several} texts have several labels",)
    labels = np.array([class_names.index(label) for label, _ in pairs], np.int32)
    return LabeledTexts([text for _, text in pairs], labels, tuple(class_names), messages)


def _rows(content: str) -> tuple[list[tuple[int, str, str]], bool]:
    """The (line, label, text) of each line that is not blank, and whether quotes were read as csv's."""
    plain = [(number, line.split("\t")) for number, line in enumerate(content.split("\n"), 1) if line.strip()]
    fields = plain
    try:
        reader = csv.reader(io.StringIO(content), delimiter="\t", strict=True)
        fields = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error:  # quotes of another meaning, such as those of `"No," he said`
        pass
    rows = [(number, row[0].strip(), "\t".join(row[1:]).strip()) for number, row in fields]
    return rows, [row for _, row in fields] != [row for _, row in plain]
