"""Pairs of a sentence and its translation, read from files of one sentence per line and padded to one length.

Elliott et al. 2016, arXiv:1605.00459 (Multi30k): train, val and test_2016_flickr, in files such as train.de.gz.
"""

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dlcore.data.source import Source
from dlcore.data.words import BytePairs, Words, pad_sequences

__all__ = ["Sentences", "multi30k", "pair_source"]

_MULTI30K = {"train": "train", "valid": "val", "test": "test_2016_flickr"}
"""Split -> stem of its files."""


class Sentences(NamedTuple):
    """The sentences of a split with their translations.

    Args:
      source: N lower-cased sentences.
      target: N translations, lower-cased, in the same order.
      name: name of the data set and the split.
    """

    source: list[str]
    target: list[str]
    name: str = "pairs"


def multi30k(folder: str | Path, source: str = "de", target: str = "en") -> dict[str, Sentences]:
    """Read Multi30k.

    Args:
      folder: folder with the files train, val and test_2016_flickr, each with the endings `.LANGUAGE` or
        `.LANGUAGE.gz`.
      source: language of the source sentences, an ending such as "de".
      target: language of the translations, an ending such as "en".

    Returns:
      {"train", "valid", "test"} -> the sentences, lower-cased.

    Raises:
      FileNotFoundError: the folder or one of its files is missing.
    """
    folder = Path(folder)
    if source == target:
        raise ValueError(f"target={target!r}: the language of the source; allowed: another one")
    if not folder.is_dir():
        raise FileNotFoundError(f"data_dir={str(folder)!r}: no folder there; allowed: the folder of train.{source}.gz")
    splits = {}
    for split, stem in _MULTI30K.items():
        read = [_lines(folder, f"{stem}.{language}") for language in (source, target)]
        if len(read[0]) != len(read[1]):
            raise ValueError(f"{folder / stem}: {len(read[0]):,} and {len(read[1]):,} lines; allowed: as many of each")
        splits[split] = Sentences(*read, f"multi30k {source}-{target} ({split})")
    return splits


def pair_source(
    sentences: Sentences, source: Words | BytePairs, target: Words | BytePairs, length: int | None = None
) -> Source:
    """Tokenize pairs of sentences and pad them to one length.

    The arrays are `source: [N, S] int32` (w1 .. wn END PAD) and `target: [N, T] int32` (START w1 .. wn END PAD).

    Args:
      sentences: sentences of a split.
      source: vocabulary of the source sentences.
      target: vocabulary of the translations.
      length: largest number of tokens of a sentence, so that S = length + 1 and T = length + 2; pairs with a longer
        sentence are left out, and the source's notes say how many. None keeps all pairs and pads to the longest.

    Returns:
      The pairs; `names` are the numbers of their lines, from 1.
    """
    if len(sentences.source) != len(sentences.target):
        raise ValueError(f"sentences: {len(sentences.source)} and {len(sentences.target)}; allowed: as many of each")
    sides = [
        [vocabulary.encode(text) for text in texts]
        for vocabulary, texts in ((source, sentences.source), (target, sentences.target))
    ]
    for name, texts, rows in zip(("source", "target"), (sentences.source, sentences.target), sides, strict=True):
        for number, (text, row) in enumerate(zip(texts, rows, strict=True), 1):
            if not len(row):
                raise ValueError(f"{name}={text!r}: no word in line {number} of {sentences.name}; allowed: one or more")
    longest = np.array([max(map(len, pair)) for pair in zip(*sides, strict=True)], int)
    selected_idx = np.flatnonzero(longest <= length) if length is not None else np.arange(len(longest))
    if not len(selected_idx):
        shortest = longest.min() if len(longest) else 0
        raise ValueError(f"length={length}: all pairs of {sentences.name} are longer; allowed: at least {shortest}")
    messages = ()
    if left := len(longest) - len(selected_idx):
        messages = (
            f"{sentences.name}: {left:,} of {len(longest):,} pairs have a sentence of more than {length} tokens "
            f"(the longest has {longest.max()}) and are left out",
        )
    rows = [[side[i] for i in selected_idx] for side in sides]
    arrays = {
        "source": pad_sequences(rows[0], None if length is None else length + 1, start=False),
        "target": pad_sequences(rows[1], None if length is None else length + 2),
    }
    return Source(arrays, len(selected_idx), name=sentences.name, notes=messages, names=(selected_idx + 1).astype(str))


def _lines(folder: Path, name: str) -> Sequence[str]:
    """Return the lower-cased lines of NAME or NAME.gz."""
    path = next((p for p in (folder / f"{name}.gz", folder / name) if p.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"data_dir={str(folder)!r}: it has neither {name}.gz nor {name}")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        content_text = content.decode("utf-8-sig")
        lines = content_text.removesuffix("\n").split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not UTF-8 text ({error})") from None
    if "\0" in content_text:
        raise ValueError(f"{path}: holds NUL, as UTF-16 does; allowed: UTF-8 text")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise ValueError(f"{path}: line {number} is empty; allowed: one sentence per line")
    return [line.strip().lower() for line in lines]
