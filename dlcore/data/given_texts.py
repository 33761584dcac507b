"""The texts of `--input`."""

from dlcore.data.text import read_texts
from dlcore.setting import FlagError

__all__ = ["given_texts"]


def given_texts(path: str) -> list[str]:
    """Read the texts of `--input`, by `read_texts`.

    Args:
      path: the value of `--input`.

    Returns:
      The lines of the file, or the text alone.

    Raises:
      FlagError: there is no such file, or it is not in UTF-8.
    """
    try:
        return read_texts(path, "--input")
    except ValueError as error:
        raise FlagError(str(error)) from None
