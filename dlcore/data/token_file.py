"""Tokens of a text too long for memory: a file of 16-bit numbers, such as nanoGPT's train.bin.

The file is memory-mapped, and a batch reads only its own rows.
"""

from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data.source import Source

__all__ = ["TokenRows", "token_rows"]


class TokenRows:
    """Rows of a file of uint16 tokens, an array [N, size]: row i begins at token first + i * stride.

    Args:
      path: path of the file.
      size: tokens of a row.
      stride: tokens from the start of one row to that of the next.
      first: index of the first token of the part that is cut into rows.
      last: index after the last token of that part; None means the end of the file.

    Raises:
      ValueError: the part has fewer than `size` tokens.
      FileNotFoundError: there is no such file.
    """

    dtype = np.dtype(np.uint16)

    def __init__(self, path: str | Path, size: int, stride: int, first: int = 0, last: int | None = None):
        if not Path(path).is_file():
            raise FileNotFoundError(f"path={str(path)!r}: does not exist; allowed: a file of 16-bit tokens")
        self._tokens = np.memmap(path, np.uint16, "r")[first:last]
        if len(self._tokens) < size:
            raise ValueError(f"path={str(path)!r}: {len(self._tokens)} tokens; allowed: at least {size}")
        self._stride = stride
        self.shape = (1 + (len(self._tokens) - size) // stride, size)
        self.settings = {"file": Path(path).name, "tokens": len(self._tokens), "first": first, "stride": stride}

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, idx: Any) -> np.ndarray:
        starts = np.arange(len(self))[idx] * self._stride
        if starts.ndim == 0:
            return np.asarray(self._tokens[starts : starts + self.shape[1]])
        rows = [self._tokens[start : start + self.shape[1]] for start in starts]
        return np.stack(rows) if rows else np.zeros((0, self.shape[1]), np.uint16)


def token_rows(
    path: str | Path, size: int, stride: int, part: tuple[float, float] = (0.0, 1.0), name: str = "tokens"
) -> Source:
    """Cut a file of tokens into rows: `text: [N, size]`, read on demand.

    Args:
      path: path of a file of uint16 tokens.
      size: tokens of a row.
      stride: tokens from the start of one row to that of the next.
      part: (start, end) of the part of the file to read, as fractions in [0, 1].
      name: name of the source.

    Returns:
      The source.

    Raises:
      ValueError: the part has fewer than `size` tokens.
      FileNotFoundError: there is no such file.
    """
    count = Path(path).stat().st_size // 2 if Path(path).is_file() else 0
    rows = TokenRows(path, size, stride, *(round(fraction * count) for fraction in part))
    return Source({"text": rows}, len(rows), name=name)
