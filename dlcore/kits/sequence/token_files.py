"""Files of tokens, such as those of OpenWebText, as data of a language model."""

from pathlib import Path

import numpy as np

from dlcore.data.token_file import TokenDtype, token_rows
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting
from dlcore.experiment.splits import Splits

__all__ = ["SETTINGS", "data", "planned"]

SETTINGS = {
    "token_dtype": Setting(
        "uint16",
        "dtype of the numbers in train.bin and val.bin; a .npy of that name states its own",
        TokenDtype,
        identity="if changed",
    )
}


OPENWEBTEXT = 9_035_582_198
"""Tokens of train.bin as nanoGPT's `prepare.py` writes it."""


def data(flags: Flags, num_tokens: int) -> Splits:
    """Read train.bin and val.bin, files of tokens; validation is the end of train.bin, test all of val.bin.

    Args:
      flags: `data_dir`, `window`, `valid_fraction`, and of SETTINGS.
      num_tokens: size of the vocabulary; all tokens are checked by it, once.

    Raises:
      ValueError: `data_dir` is missing, a file is shorter than a window or holds no numbers of `--token_dtype`, or a
        token is not in the vocabulary.
      FileNotFoundError: a file does not exist.
    """
    if flags.data_dir is None:
        raise ValueError("data_dir=None: missing; allowed: a folder with train.bin and val.bin")
    folder, window, cut = Path(flags.data_dir), flags.window, 1 - flags.valid_fraction
    options = {"dtype": flags.token_dtype, "num_tokens": num_tokens}
    return Splits(
        token_rows(folder / "train.bin", 2 * window, window, (0.0, cut), "tokens (train)", **options),
        token_rows(folder / "train.bin", window + 1, window, (cut, 1.0), "tokens (validation)", **options),
        token_rows(folder / "val.bin", window + 1, window, name="tokens (test)", **options),
        planned(flags)[0],
    )


def planned(flags: Flags) -> tuple[dict, dict[str, np.ndarray]]:
    """Describe a batch of `data`, of zeros, without reading its files."""
    shape = [flags.batch_size, 2 * flags.window]
    index = np.arange(shape[0], dtype=np.int32)
    spec = {"dataset": "tokens", "train_size": OPENWEBTEXT // flags.window}
    return spec, {"text": np.zeros(shape, np.uint16 if flags.token_dtype == "uint16" else np.int32), "index": index}
