"""Tokenizers of sentences: words, or subwords by byte-pair encoding; every vocabulary begins with four special tokens.

Byte-pair encoding (BPE): Sennrich, Haddow & Birch 2016, arXiv:1508.07909, by the package `tokenizers`.

    a sequence is START w1 .. wn END PAD PAD, and its mask is `tokens != PAD`

Only `tokenize` lower-cases and splits text; training and scoring both use it. Texts that Unicode calls equal have equal
words: accents are composed (NFC, UAX #15), and marks that do not compose stay with their letter.
`decode(encode(text))` equals `" ".join(tokenize(text))` if all words are in the vocabulary.
"""

import dataclasses
import functools
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.extras import require

__all__ = [
    "END",
    "PAD",
    "SPECIAL",
    "START",
    "UNKNOWN",
    "BytePairs",
    "Words",
    "pad_sequences",
    "tokenize",
    "tokenizer_from_json",
    "vocabulary_from_dict",
]

PAD, START, END, UNKNOWN = 0, 1, 2, 3
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
_MARK = "\u0300"
_WORD = rf"\w[\w{_MARK}]*"
_PIECE = re.compile(rf"{_WORD}(?:['’]{_WORD})*|[^\w\s]{_MARK}*")
_BLANK = "▁"
_STORED_BLANK = "\uffff"
"""What stands for a "▁" of the text in a vocabulary of byte pairs, where "▁" itself begins a word."""


def tokenize(text: str) -> list[str]:
    """Lower-case a text and split it into words and punctuation marks.

    Args:
      text: any text.

    Returns:
      The words and marks, in NFC; an apostrophe between letters stays in its word, as do combining marks and joiners,
      and a hyphen is a mark of its own.
    """
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())
    if text.isascii():
        return _PIECE.findall(text)
    # Python's \w knows no combining marks (Mn, Mc, Me) and no joiners: find the pieces as if all were one mark.
    shape = "".join(_MARK if unicodedata.category(c)[0] == "M" or c in "\u200c\u200d" else c for c in text)
    return [text[piece.start() : piece.end()] for piece in _PIECE.finditer(shape)]


def pad_sequences(
    sequences: Sequence[Sequence[int]], length: int | None = None, *, start: bool = True, end: bool = True
) -> np.ndarray:
    """Put START in front of each sequence and END behind it, and pad to one length.

    Args:
      sequences: N lists of tokens.
      length: L, length of the rows, START and END included; None takes that of the longest row.
      start: whether rows begin with START.
      end: whether END follows the last token.

    Returns:
      Tokens [N, L] int32.
    """
    if length is not None:
        check_whole_number("length", length, 0)
    for i, tokens in enumerate(sequences):
        _check_tokens(f"sequences[{i}]", tokens)
    extra = int(start) + int(end)
    longest = max((len(s) for s in sequences), default=0) + extra
    if length is not None and longest > length:
        where = next(i for i, s in enumerate(sequences) if len(s) + extra > length)
        raise ValueError(
            f"length={length}: sequence {where} has {len(sequences[where])} tokens and {extra} special ones; "
            f"allowed: at least {longest}"
        )
    rows = np.full((len(sequences), longest if length is None else length), PAD, np.int32)
    for row, tokens in zip(rows, sequences, strict=True):
        row[: len(tokens) + extra] = [*[START] * start, *tokens, *[END] * end]
    return rows


def _check_tokens(name: str, tokens: Iterable[int]) -> None:
    """Refuse what is no list of whole numbers of at least 0, as a fraction would be cut off."""
    try:
        values = np.asarray(tokens)
    except ValueError:
        raise ValueError(f"{name}: rows of unequal lengths; allowed: a list of whole numbers of at least 0") from None
    if values.ndim != 1 or (values.size and (values.dtype.kind not in "iu" or values.min() < 0)):
        raise ValueError(f"{name}={values.tolist()}: no tokens; allowed: a list of whole numbers of at least 0")


def _check_sentences(sentences: Iterable[str]) -> None:
    if isinstance(sentences, str):
        raise ValueError(f"sentences={sentences!r:.60}: one text; allowed: a list of sentences")


def _until_end(tokens: Iterable[int]) -> list[int]:
    """Return the tokens before END, without PAD and START."""
    prefix, tokens = [], tokens if hasattr(tokens, "shape") else list(tokens)
    _check_tokens("tokens", tokens)
    for token in map(int, tokens):
        if token == END:
            break
        if token not in (PAD, START):
            prefix.append(token)
    return prefix


@dataclasses.dataclass(frozen=True)
class Words:
    """A vocabulary of words; word i has the token i + 4.

    Args:
      words: words of the vocabulary without the special tokens, each once.
    """

    words: tuple[str, ...]
    kind: ClassVar[str] = "words"

    def __post_init__(self):
        if isinstance(self.words, str) or not all(isinstance(word, str) for word in self.words):
            raise ValueError(f"words={self.words!r:.60}: no words; allowed: a list of texts")
        object.__setattr__(self, "words", tuple(self.words))
        if len(self._index) != len(self.words):
            twice = next(word for word, count in Counter(self.words).items() if count > 1)
            raise ValueError(f"words: {twice!r} occurs twice; allowed: each word once")

    @classmethod
    def of(cls, sentences: Iterable[str], min_count: int = 1) -> "Words":
        """Collect the words of sentences, the most frequent first.

        Args:
          sentences: training sentences.
          min_count: minimum number of occurrences of a word; rarer words are UNKNOWN.

        Returns:
          The vocabulary.
        """
        check_whole_number("min_count", min_count, 1)
        _check_sentences(sentences)
        counts = Counter(word for sentence in sentences for word in tokenize(sentence))
        words = tuple(w for w, n in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])) if n >= min_count)
        if not words:
            raise ValueError(f"sentences: no word occurs {min_count=} times; allowed: one or more")
        return cls(words)

    @functools.cached_property
    def _index(self) -> dict[str, int]:
        return {word: i + len(SPECIAL) for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(SPECIAL) + len(self.words)

    def encode(self, sentence: str) -> np.ndarray:
        """Turn a sentence into tokens.

        Args:
          sentence: any text.

        Returns:
          Tokens [n] int32, without START and END; words outside the vocabulary are UNKNOWN.
        """
        return np.array([self._index.get(word, UNKNOWN) for word in tokenize(sentence)], np.int32)

    def unknown(self, sentence: str) -> list[str]:
        """List the words of a sentence that are not in the vocabulary.

        Args:
          sentence: any text.

        Returns:
          The words, in the order of the sentence.
        """
        return [word for word in tokenize(sentence) if word not in self._index]

    def pieces(self, tokens: Iterable[int]) -> list[str]:
        """Look up the word of each token up to END, as labels of an attention map.

        Args:
          tokens: ints; PAD and START are skipped.

        Returns:
          One word per token.
        """
        return _named(_until_end(tokens), (*SPECIAL, *self.words))

    def decode(self, tokens: Iterable[int]) -> str:
        """Turn tokens into text.

        Args:
          tokens: ints; those after END are left out, and so are PAD and START.

        Returns:
          The words, joined by blanks.
        """
        return " ".join(self.pieces(tokens))

    def to_dict(self) -> dict[str, Any]:
        """Make a JSON-able copy.

        Returns:
          A dict that `from_dict` and `vocabulary_from_dict` read.
        """
        return {"kind": self.kind, "words": list(self.words)}

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> "Words":
        """Read the copy that `to_dict` made.

        Args:
          entry: the copy.

        Returns:
          The vocabulary.
        """
        return cls(tuple(entry["words"]))


def tokenizer_from_json(text: str) -> Any:
    """Build a tokenizer of the package `tokenizers`, without the padding and truncation that its file may store.

    Args:
      text: content of a tokenizer.json.

    Returns:
      The `tokenizers.Tokenizer`; its tokens of a text are those of the text alone, and all of them.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # of the package's own kind
        raise ValueError(f"text: no tokenizer ({error}); allowed: the content of a tokenizer.json") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


@dataclasses.dataclass(frozen=True)
class BytePairs:
    """A vocabulary of subwords by byte-pair encoding: frequent pairs of neighboring subwords are merged into one.

    Args:
      tokenizer: JSON text of a `tokenizers.Tokenizer`, as `train` makes it.
    """

    tokenizer: str
    kind: ClassVar[str] = "byte_pairs"

    def __post_init__(self):
        require("tokenizers", what="a vocabulary of byte pairs")

    @classmethod
    def train(cls, sentences: Iterable[str], size: int) -> "BytePairs":
        """Learn the subwords of sentences.

        Args:
          sentences: training sentences, of all languages that share the vocabulary.
          size: maximum number of tokens, the special ones included; short texts give fewer.

        Returns:
          The vocabulary; it holds each character of the sentences.
        """
        check_whole_number("size", size)
        _check_sentences(sentences)
        require("tokenizers", what="a vocabulary of byte pairs")
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers

        split = [_stored(sentence) for sentence in sentences]
        characters = sorted(set("".join(split)) - {" "})
        least = len(SPECIAL) + len(characters) + 1
        if not characters or size < least:
            raise ValueError(f"size={size}: too small for the characters of the sentences; allowed: at least {least}")
        model = Tokenizer(models.BPE(unk_token=SPECIAL[UNKNOWN]))
        model.pre_tokenizer = pre_tokenizers.Metaspace(_BLANK)
        trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(SPECIAL), show_progress=False)
        model.train_from_iterator(split, trainer)
        return cls(model.to_str())

    @functools.cached_property
    def _model(self) -> Any:
        return tokenizer_from_json(self.tokenizer)

    @functools.cached_property
    def _parts(self) -> tuple[str, ...]:
        table = self._model.get_vocab()
        return tuple(sorted(table, key=table.__getitem__))

    def __len__(self) -> int:
        return len(self._parts)

    def encode(self, sentence: str) -> np.ndarray:
        """Turn a sentence into tokens.

        Args:
          sentence: any text.

        Returns:
          Tokens [n] int32, without START and END; characters outside the vocabulary are UNKNOWN.
        """
        return np.array(self._model.encode(_stored(sentence)).ids, np.int32)

    def pieces(self, tokens: Iterable[int]) -> list[str]:
        """Look up the subword of each token up to END, as labels of an attention map.

        Args:
          tokens: ints; PAD and START are skipped.

        Returns:
          One subword per token; those that do not begin a word begin with "##".
        """
        parts = _named(_until_end(tokens), self._parts)
        parts = [p.removeprefix(_BLANK) if p.startswith(_BLANK) or p in SPECIAL else f"##{p}" for p in parts]
        return [p.replace(_STORED_BLANK, _BLANK) for p in parts]

    def decode(self, tokens: Iterable[int]) -> str:
        """Turn tokens into text; subwords are joined to words.

        Args:
          tokens: ints; those after END are left out, and so are PAD and START.

        Returns:
          The words, joined by blanks.
        """
        parts = _named(_until_end(tokens), self._parts)
        return " ".join("".join(parts).replace(_BLANK, " ").split()).replace(_STORED_BLANK, _BLANK)

    def to_dict(self) -> dict[str, Any]:
        """Make a JSON-able copy.

        Returns:
          A dict that `from_dict` and `vocabulary_from_dict` read.
        """
        return {"kind": self.kind, "tokenizer": json.loads(self.tokenizer)}

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> "BytePairs":
        """Read the copy that `to_dict` made.

        Args:
          entry: the copy.

        Returns:
          The vocabulary.
        """
        return cls(json.dumps(entry["tokenizer"]))


def vocabulary_from_dict(entry: dict[str, Any]) -> Words | BytePairs:
    """Read a vocabulary that a run has saved.

    Args:
      entry: result of `Words.to_dict` or `BytePairs.to_dict`.

    Returns:
      The vocabulary.
    """
    kinds = {kind.kind: kind for kind in (Words, BytePairs)}
    if not isinstance(entry, dict):
        raise ValueError(f"entry={type(entry).__name__}: no vocabulary; allowed: a dict, of `to_dict`")
    if entry.get("kind") not in kinds:
        raise ValueError(f"kind={entry.get('kind')!r}: unknown vocabulary; allowed: {', '.join(kinds)}")
    content = {"words": "words", "byte_pairs": "tokenizer"}[entry["kind"]]
    if content not in entry:
        raise ValueError(f"entry={sorted(entry)}: holds no {content}; allowed: a dict, of `to_dict`")
    return kinds[entry["kind"]].from_dict(entry)


def _stored(sentence: str) -> str:
    return " ".join(tokenize(sentence)).replace(_BLANK, _STORED_BLANK)


def _named(tokens: list[int], names: Sequence[str]) -> list[str]:
    for token in tokens:
        if not 0 <= token < len(names):
            raise ValueError(f"tokens: {token} is not in the vocabulary; allowed: 0 to {len(names) - 1}")
    return [names[token] for token in tokens]
