"""Text as characters: a vocabulary, three contiguous parts of a text, and streams that are read side by side.

The last tenth is the test part (what is published as "validation" for tiny Shakespeare), and the part before it is the
validation part, which settings are chosen on.
"""

from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlcore.data.source import Source

__all__ = ["TEXTS", "Vocabulary", "embedded_pages", "load_text", "split_text", "streams"]

TEXTS = ("pages", "shakespeare", "file")
_SHAKESPEARE = "tinyshakespeare.txt"


class Vocabulary(NamedTuple):
    """Characters, each once; a token is the position of its character."""

    characters: str

    @classmethod
    def of(cls, text: str) -> "Vocabulary":
        """The characters of a text, in the order of their code points."""
        return cls("".join(sorted(set(text))))

    def encode(self, text: str) -> np.ndarray:
        """[N] tokens: uint8 up to 256 characters, int32 beyond.

        Raises: ValueError for a character that is not in the vocabulary.
        """
        places = {character: place for place, character in enumerate(self.characters)}
        unknown = sorted(set(text) - set(places))
        if unknown:
            raise ValueError(f"text holds {unknown[0]!r}, which is not among the {len(places)} characters known")
        return np.array([places[c] for c in text], np.uint8 if len(places) <= 256 else np.int32)

    def decode(self, tokens: Iterable[int]) -> str:
        """The characters of tokens."""
        return "".join(self.characters[int(token)] for token in tokens)


def embedded_pages() -> str:
    """A few pages in the public domain that come with the package: Carroll, Shakespeare, the King James Bible, ..."""
    return resources.files("dlcore.data").joinpath("pages.txt").read_text(encoding="utf-8")


def load_text(name: str, data_dir: str | Path | None = None) -> str:
    """A text by name: "pages" (embedded), "shakespeare" (tinyshakespeare.txt in `data_dir`) or "file" (`data_dir`
    itself, any UTF-8 text).

    Raises: ValueError for an unknown name or a missing data_dir; FileNotFoundError for a file that is not there.
    """
    if name not in TEXTS:
        raise ValueError(f"dataset is {name!r}; allowed are {', '.join(TEXTS)}")
    if name == "pages":
        return embedded_pages()
    if data_dir is None:
        what = f"the folder of {_SHAKESPEARE}" if name == "shakespeare" else "the text file"
        raise ValueError(f"dataset {name!r} needs data_dir: {what}")
    path = Path(data_dir) / _SHAKESPEARE if name == "shakespeare" else Path(data_dir)
    if not path.is_file():
        raise FileNotFoundError(f"there is no text file at {path}")
    return path.read_text(encoding="utf-8")


def split_text(tokens: np.ndarray, fraction: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(train, valid, test), contiguous and in this order; valid and test are `fraction` of [N] tokens each.

    Raises: ValueError for a fraction outside (0, 0.5), or a text too short for two tokens in each part.
    """
    if not 0 < fraction < 0.5:
        raise ValueError(f"fraction is {fraction}; it must be in (0, 0.5)")
    held = round(fraction * len(tokens))
    if held < 2 or len(tokens) - 2 * held < 2:
        raise ValueError(f"a text of {len(tokens)} characters is too short to hold {fraction:g} of it out twice")
    return tokens[: -2 * held], tokens[-2 * held : -held], tokens[-held:]


def streams(tokens: np.ndarray, count: int, name: str = "text", whole: bool = False) -> Source:
    """`count` rows `text: [count, L + 1]` that go through a text of [N] tokens side by side.

    A row's last token is the next row's first: it is a target here and an input there, so each of the N - 1
    transitions is in one row. With `whole` all of them are (the last row is padded, and `length: [count]` says how many
    targets are real); without, up to count - 1 at the end are left out, and rows are full.

    Raises: ValueError for a text that does not give each row a target.
    """
    transitions = len(tokens) - 1
    length = -(-transitions // count) if whole else transitions // count
    if count < 1 or length < 1 or (whole and (count - 1) * length >= transitions):
        raise ValueError(f"count is {count}; a text of {len(tokens)} characters does not fill as many streams")
    padded = np.concatenate([tokens, np.zeros(max(0, count * length + 1 - len(tokens)), tokens.dtype)])
    rows = np.stack([padded[i * length : (i + 1) * length + 1] for i in range(count)])
    arrays: dict[str, Any] = {"text": rows}
    if whole:
        arrays["length"] = np.clip(transitions - length * np.arange(count), 0, length).astype(np.int32)
    return Source(arrays, name=name)
