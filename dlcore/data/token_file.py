"""Tokens of a text too long for memory: a file of whole numbers, such as nanoGPT's train.bin of 16 bits, or a .npy.

The file is memory-mapped, and a batch reads only its own rows.
"""

import codecs
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dlcore.choices import check_choice, check_pair, check_path
from dlcore.data.source import Source
from dlcore.ops.checks import check_shapes

__all__ = ["TokenDtype", "TokenRows", "token_rows"]

TokenDtype = Literal["uint16", "uint32", "int32", "int64"]
_NPY = b"\x93NUMPY"
_OTHERS = {b"PK\x03\x04": "a .zip or .npz", b"\x1f\x8b\x08": "compressed by gzip", b"PAR1": "a Parquet file"}
"""First bytes of files of another kind -> its name."""
_START = 512
"""Bytes at the start of a file that tell a text from numbers."""
_BLOCK = 2**24
"""Numbers that are read at once to find the largest."""


class TokenRows:
    """Rows of a file of tokens, an array [N, size]: row i begins at token first + i * stride.

    Args:
      path: path of the file: numbers of `dtype` one after the other, or a .npy, which states its own dtype.
      size: tokens of a row.
      stride: tokens from the start of one row to that of the next.
      part: (start, end) of the part that is cut into rows, as fractions in [0, 1].
      dtype: dtype of the numbers.

    Raises:
      FileNotFoundError: there is no such file.
    """

    def __init__(
        self,
        path: str | Path,
        size: int,
        stride: int,
        part: tuple[float, float] = (0.0, 1.0),
        dtype: TokenDtype = "uint16",
    ):
        check_shapes(size=(size, "int >= 1"), stride=(stride, "int >= 1"))
        check_pair("part", part)
        if not 0 <= part[0] < part[1] <= 1:
            raise ValueError(f"part={part}: no part; allowed: two fractions in [0, 1], the smaller first")
        tokens = _mapped(path, dtype)
        first, last = (round(fraction * len(tokens)) for fraction in part)
        self.tokens = tokens[first:last]
        if len(self.tokens) < size:
            raise ValueError(f"path={str(path)!r}: {len(self.tokens)} tokens; allowed: at least {size}")
        self.dtype = np.dtype(np.uint16 if tokens.dtype == np.uint16 else np.int32)
        self._stride = stride
        self.shape = (1 + (len(self.tokens) - size) // stride, size)
        self.settings = {"file": Path(path).name, "tokens": len(self.tokens), "first": first, "stride": stride}
        if tokens.dtype != np.uint16:
            self.settings["dtype"] = str(tokens.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, idx: Any) -> np.ndarray:
        starts = np.arange(len(self))[idx] * self._stride
        if starts.ndim == 0:
            return np.asarray(self.tokens[starts : starts + self.shape[1]], self.dtype)
        rows = [self.tokens[start : start + self.shape[1]] for start in starts]
        return np.stack(rows).astype(self.dtype) if rows else np.zeros((0, self.shape[1]), self.dtype)


def token_rows(
    path: str | Path,
    size: int,
    stride: int,
    part: tuple[float, float] = (0.0, 1.0),
    name: str = "tokens",
    dtype: TokenDtype = "uint16",
    num_tokens: int | None = None,
) -> Source:
    """Cut a file of tokens into rows: `text: [N, size]`, read on demand.

    Args:
      path: path of the file: numbers of `dtype` one after the other, or a .npy, which states its own dtype.
      size: tokens of a row.
      stride: tokens from the start of one row to that of the next.
      part: (start, end) of the part of the file to read, as fractions in [0, 1].
      name: name of the source.
      dtype: dtype of the numbers.
      num_tokens: size of the vocabulary, by which the tokens of the part are checked, once; None checks nothing.

    Returns:
      The source; its rows are uint16 for a file of uint16, else int32.

    Raises:
      FileNotFoundError: there is no such file.
    """
    check_path("path", path)
    check_shapes(num_tokens=(num_tokens, "int >= 1 or None"))
    rows = TokenRows(path, size, stride, part, dtype)
    if num_tokens is not None:
        _check_tokens(path, rows.tokens, rows.settings["first"], num_tokens)
    return Source({"text": rows}, len(rows), name=name)


def _mapped(path: str | Path, dtype: TokenDtype) -> np.ndarray:
    """Map a file into memory as [N] whole numbers."""
    check_choice("dtype", dtype, TokenDtype)
    name = f"path={str(path)!r}"
    if not Path(path).is_file():
        raise FileNotFoundError(f"{name}: does not exist; allowed: a file of tokens of {dtype}")
    with open(path, "rb") as file:
        start = file.read(_START)
    if other := next((kind for magic, kind in _OTHERS.items() if start.startswith(magic)), None):
        raise ValueError(f"{name}: {other}; allowed: numbers of {dtype} one after the other, or a .npy")
    if _is_text(start):
        raise ValueError(f"{name}: a text, {start[:20]!r}, ...; allowed: its tokens, as numbers of {dtype} or a .npy")
    if start.startswith(_NPY):
        try:
            tokens = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ValueError(f"{name}: {error}; allowed: a .npy of whole numbers") from None
        if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
            actual = f"{tokens.dtype}{list(tokens.shape)}"
            raise ValueError(f"{name}: a .npy of {actual}; allowed: one axis of whole numbers")
        return tokens
    num_bytes, width = Path(path).stat().st_size, np.dtype(dtype).itemsize
    if num_bytes % width:
        raise ValueError(f"{name}: {num_bytes} bytes; allowed: a multiple of {width}, whole numbers of {dtype}")
    tokens = np.memmap(path, dtype, "r") if num_bytes else np.zeros(0, dtype)
    if dtype == "uint16":
        _check_halves(name, tokens[:_BLOCK])
    return tokens


def _is_text(start: bytes) -> bool:
    """Return whether bytes are printable characters; no 32 tokens of 16 bits happen to be."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return len(start) >= 64 and all(character.isprintable() or character in "\t\n\r" for character in text)


def _check_halves(name: str, tokens: np.ndarray) -> None:
    """Refuse 16-bit numbers that are the halves of wider ones, of which every second (and third, fourth) is near 0."""
    upper, lower = tokens[1::2], tokens[::2]
    if len(upper) >= 32 and upper.max() <= 3 < lower.max():
        dtype = "int64" if not tokens[2::4].any() else "uint32"
        raise ValueError(f"{name}: every second number is 0 to 3, as in a file of {dtype}; allowed: dtype={dtype}")


def _check_tokens(path: str | Path, tokens: np.ndarray, first: int, num_tokens: int) -> None:
    for start in range(0, len(tokens), _BLOCK):
        block = tokens[start : start + _BLOCK]
        invalid = (block < 0) | (block >= num_tokens)
        if invalid.any():
            where = f"token {first + start + invalid.argmax()} is {block[invalid.argmax()]}"
            raise ValueError(f"path={str(path)!r}: {where}; allowed: 0 to {num_tokens - 1}, those of the vocabulary")
