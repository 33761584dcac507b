"""Text as characters: a vocabulary, three contiguous parts of a text, and streams that are read in parallel.

The last tenth is the test part (published as "validation" for tiny Shakespeare), and the part before it is the
validation part, on which settings are chosen.
"""

from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlcore.data.melodies import melodies
from dlcore.data.source import Source
from dlcore.data.topics import as_characters, topic_lines

__all__ = [
    "TEXTS",
    "Vocabulary",
    "embedded_pages",
    "load_text",
    "read_utf8",
    "split_text",
    "streams",
    "training_windows",
    "windows",
]

TEXTS = ("pages", "melodies", "topics", "shakespeare", "file")
_SHAKESPEARE = "tinyshakespeare.txt"
_NUM_MELODIES = 1000


class Vocabulary(NamedTuple):
    """Characters, each once; a token is the position of its character.

    Args:
      characters: all of them, in one string.
    """

    characters: str

    @classmethod
    def of(cls, text: str) -> "Vocabulary":
        """Collect the characters of a text, in the order of their code points.

        Args:
          text: any.

        Returns:
          The vocabulary.
        """
        return cls("".join(sorted(set(text))))

    def encode(self, text: str) -> np.ndarray:
        """Turn text into tokens.

        Args:
          text: text of known characters.

        Returns:
          [N] tokens: uint8 up to 256 characters, int32 beyond.

        Raises:
          ValueError: a character is not in the vocabulary.
        """
        index = {character: i for i, character in enumerate(self.characters)}
        for position, character in enumerate(text):
            if character not in index:
                raise ValueError(
                    f"text: {character!r} at position {position} is not among the {len(index)} characters of the "
                    "vocabulary"
                )
        return np.array([index[c] for c in text], np.uint8 if len(index) <= 256 else np.int32)

    def decode(self, tokens: Iterable[int]) -> str:
        """Turn tokens into text.

        Args:
          tokens: ints.

        Returns:
          The text.
        """
        return "".join(self.characters[int(token)] for token in tokens)


def embedded_pages() -> str:
    """Read a few pages in the public domain that come with the package: Carroll, Shakespeare, the King James Bible, ...

    Returns:
      The text.
    """
    return resources.files("dlcore.data").joinpath("pages.txt").read_text(encoding="utf-8")


def load_text(name: str, data_dir: str | Path | None = None) -> str:
    """Load a text by name.

    Args:
      name: "pages" (embedded), "melodies" or "topics" (drawn by a program; of topics each character is a word),
        "shakespeare" (tinyshakespeare.txt in `data_dir`) or "file" (`data_dir` itself).
      data_dir: folder of tinyshakespeare.txt, or path of a UTF-8 text file; the first three need none.

    Returns:
      The text.

    Raises:
      ValueError: `name` is unknown, `data_dir` is missing, or the file holds no UTF-8 text or nothing.
      FileNotFoundError: the file does not exist.
    """
    if name not in TEXTS:
        raise ValueError(f"dataset={name!r}: unknown; allowed: {', '.join(TEXTS)}")
    if name == "pages":
        return embedded_pages()
    if name == "melodies":
        return melodies(_NUM_MELODIES)
    if name == "topics":
        return as_characters(topic_lines(1, 1).text)
    if data_dir is None:
        what = f"the folder of {_SHAKESPEARE}" if name == "shakespeare" else "the text file"
        raise ValueError(f"data_dir=None: missing; allowed: {what}, which dataset {name!r} needs")
    path = Path(data_dir) / _SHAKESPEARE if name == "shakespeare" else Path(data_dir)
    if not path.is_file():
        raise FileNotFoundError(f"data_dir={str(data_dir)!r}: no text file at {path}")
    text = read_utf8(path, "data_dir")
    if not text:
        raise ValueError(f"data_dir={str(data_dir)!r}: {path.name} is empty; allowed: at least a few sentences")
    return text


def read_utf8(path: Path, argument: str) -> str:
    """Read a text file.

    Args:
      path: path of the file.
      argument: argument that names it in an error.

    Returns:
      The text.

    Raises:
      ValueError: the file holds no UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte {error.start} is {error.object[error.start]:#04x}"
        raise ValueError(f"{argument}={str(path)!r}: {byte}; allowed: a text file in UTF-8") from None


def split_text(
    tokens: np.ndarray, valid_fraction: float = 0.1, test_fraction: float | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split a text into three contiguous parts.

    Args:
      tokens: [N].
      valid_fraction: share of the validation part.
      test_fraction: share of the test part, at the end; None for as much as for validation.

    Returns:
      (train, valid, test), in this order.

    Raises:
      ValueError: the shares leave nothing, or the text is too short for two tokens in each part.
    """
    test_fraction = valid_fraction if test_fraction is None else test_fraction
    for name, fraction in (("valid_fraction", valid_fraction), ("test_fraction", test_fraction)):
        if not 0 < fraction < 1 or valid_fraction + test_fraction >= 1:
            raise ValueError(f"{name}={fraction}: out of range; allowed: above 0, and both together below 1")
    valid, test = round(valid_fraction * len(tokens)), round(test_fraction * len(tokens))
    if min(valid, test, len(tokens) - valid - test) < 2:
        parts = f"{len(tokens) - valid - test}, {valid} and {test}"
        raise ValueError(
            f"tokens={len(tokens)}: too short, parts of {parts} characters for training, validation and test; "
            "allowed: texts of which each part has 2"
        )
    return tokens[: -valid - test], tokens[-valid - test : -test], tokens[-test:]


def streams(tokens: np.ndarray, count: int, name: str = "text", whole: bool = False) -> Source:
    """Cut a text into rows that are read in parallel: `text: [count, L + 1]`.

    A row's last token is the next row's first: it is a target here and an input there, so each of the N - 1 transitions
    is in one row.

    Args:
      tokens: [N].
      count: number of rows.
      name: name of the source.
      whole: keep all transitions: the last row is padded, and `length: [count]` says how many targets are real. False
        leaves up to count - 1 out at the end, and rows are full.

    Returns:
      The source.

    Raises:
      ValueError: the text does not give each row a target.
    """
    transitions = len(tokens) - 1
    if count < 1:
        raise ValueError(f"count={count}: no stream; allowed: 1 or more")
    length = -(-transitions // count) if whole else transitions // count
    if length < 1 or (whole and (count - 1) * length >= transitions):
        most = max(1, -(-transitions // length)) if length else max(0, transitions)
        raise ValueError(f"count={count}: {name} has {len(tokens)} characters, too few; allowed: {most} streams")
    padded = np.concatenate([tokens, np.zeros(max(0, count * length + 1 - len(tokens)), tokens.dtype)])
    rows = np.stack([padded[i * length : (i + 1) * length + 1] for i in range(count)])
    arrays: dict[str, Any] = {"text": rows}
    if whole:
        arrays["length"] = np.clip(transitions - length * np.arange(count), 0, length).astype(np.int32)
    return Source(arrays, name=name)


def windows(tokens: np.ndarray, length: int, stride: int | None = None, name: str = "text") -> Source:
    """Cut a text into windows to measure a model by: `text: [N, length + 1]`.

    Every transition of the text is the target of one window: `first: [N]` and `length: [N]` say which targets are a
    window's own; those before are context, those behind are padding.

    Args:
      tokens: [M].
      length: T, targets of a window.
      stride: targets from one window to the next; None means T, windows without common targets. With fewer, a target
        has at least T - stride tokens of context (but at the start of the text).
      name: name of the source.

    Returns:
      The source.

    Raises:
      ValueError: the text has no transition, or the stride is not 1 to T.
    """
    stride = length if stride is None else stride
    if len(tokens) < 2:
        raise ValueError(f"tokens={len(tokens)}: {name} is too short; allowed: at least 2 tokens")
    if not 1 <= stride <= length:
        raise ValueError(f"stride={stride}: out of range; allowed: 1 to the window's {length}")
    transitions = len(tokens) - 1
    start = stride * np.arange(1 + max(0, -(-(transitions - length) // stride)))
    padded = np.concatenate([tokens, np.zeros(max(0, start[-1] + length + 1 - len(tokens)), tokens.dtype)])
    arrays = {
        "text": np.lib.stride_tricks.sliding_window_view(padded, length + 1)[start],
        "first": np.where(start > 0, length - stride, 0).astype(np.int32),
        "length": np.clip(transitions - start, 0, length).astype(np.int32),
    }
    return Source(arrays, name=name)


def training_windows(tokens: np.ndarray, length: int, name: str = "text") -> Source:
    """Cut a text into rows in which a learner moves its windows: `text: [N, 2 length]`, one row every `length` tokens.

    A window of T + 1 tokens has T places in a row, so all windows of the text are equally probable but for those at
    its ends.

    Args:
      tokens: [M].
      length: T, targets of a window.
      name: name of the source.

    Returns:
      The source; the last row ends with the text, and a text of at most 2 T tokens is one row.

    Raises:
      ValueError: the text is not longer than a window.
    """
    if len(tokens) <= length:
        raise ValueError(f"length={length}: {name} has {len(tokens)} tokens; allowed: fewer than these")
    size = min(2 * length, len(tokens))
    start = np.minimum(np.arange(0, max(1, len(tokens) - length), length), len(tokens) - size)
    return Source({"text": np.lib.stride_tricks.sliding_window_view(tokens, size)[np.unique(start)]}, name=name)
