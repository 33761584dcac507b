"""Files of tokens, such as those of OpenWebText, as data of a language model."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from dlcore.data.splits import Splits
from dlcore.data.token_file import TokenDtype, token_rows
from dlcore.learner import CheckedRecord, Range

__all__ = ["TokenFiles"]

OPENWEBTEXT = 9_035_582_198
"""Tokens of train.bin as nanoGPT's `prepare.py` writes it."""


@dataclasses.dataclass(frozen=True)
class TokenFiles(CheckedRecord):
    """Windows of train.bin and val.bin, files of tokens.

    Args:
      data_dir: shakespeare: the folder of tinyshakespeare.txt; file: the text file
      valid_fraction: fraction of the text held out for validation
      window: characters that the model reads at once
      eval_stride: targets from one measured window to the next; fewer than the window give each target more context
      token_dtype: dtype of the numbers in train.bin and val.bin; a .npy of that name states its own
      num_tokens: size of the vocabulary; all tokens are checked by it, once
    """

    data_dir: Annotated[str | None, "essential"] = None
    valid_fraction: Annotated[float, Range(0.001, 0.4)] = 0.001
    window: Annotated[int, Range(2), "essential"] = 1024
    eval_stride: Annotated[int | None, Range(1)] = None
    token_dtype: Annotated[TokenDtype, "if changed"] = "uint16"
    num_tokens: Annotated[int, "no flag"] = 50257

    reads_files: ClassVar[bool] = True

    def load(self) -> Splits:
        """Map the files into memory; validation is the end of train.bin, test all of val.bin.

        Raises:
          ValueError: `data_dir` is missing, a file is shorter than a window or holds no numbers of `token_dtype`, or a
            token is not in the vocabulary.
          FileNotFoundError: a file does not exist.
        """
        if self.data_dir is None:
            raise ValueError("data_dir=None: missing; allowed: a folder with train.bin and val.bin")
        folder, window, cut = Path(self.data_dir), self.window, 1 - self.valid_fraction
        options = {"dtype": self.token_dtype, "num_tokens": self.num_tokens}
        return Splits(
            token_rows(folder / "train.bin", 2 * window, window, (0.0, cut), "tokens (train)", **options),
            token_rows(folder / "train.bin", window + 1, window, (cut, 1.0), "tokens (validation)", **options),
            token_rows(folder / "val.bin", window + 1, window, name="tokens (test)", **options),
            self.planned()[0],
        )

    def planned(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Describe OpenWebText and a row of its training data, of zeros, without reading the files."""
        dtype = np.uint16 if self.token_dtype == "uint16" else np.int32
        row = {"text": np.zeros((1, 2 * self.window), dtype), "index": np.arange(1, dtype=np.int32)}
        return {"dataset": "tokens", "train_size": OPENWEBTEXT // self.window}, row
