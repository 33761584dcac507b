"""The names of splits that the readers of folders know, in any case: `Training` is train, `dev` is validation."""

from collections.abc import Iterable

__all__ = ["allowed_names", "check_one_name", "split_of"]

_SPLIT_NAMES = {
    "train": ("train", "training"),
    "valid": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval"),
}
"""Split -> the names that its folder or file may have."""


def split_of(name: str) -> str | None:
    """Tell which split a folder's name is.

    Args:
      name: name of the folder, in upper or lower case.

    Returns:
      train, valid or test; None for any other name.
    """
    return next((split for split, names in _SPLIT_NAMES.items() if name.lower() in names), None)


def allowed_names() -> str:
    """List the names for a message.

    Returns:
      The names, with commas.
    """
    return ", ".join(name for names in _SPLIT_NAMES.values() for name in names)


def check_one_name(names: Iterable[str], where: str) -> None:
    """Check that no split is there under two names, which would be merged.

    Args:
      names: names of folders that are splits.
      where: start of the message, such as "data_dir='x'".

    Raises:
      ValueError: two names are the same split.
    """
    folder_of_split: dict[str | None, str] = {}
    for name in sorted(names):
        if (other := folder_of_split.setdefault(split_of(name), name)) != name:
            raise ValueError(
                f"{where}: {other!r} and {name!r} are both the {split_of(name)} split; allowed: one of them"
            )
