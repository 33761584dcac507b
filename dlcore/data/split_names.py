"""Names of split folders, in upper or lower case: `Training` is the training split, `dev` the validation split."""

from collections.abc import Iterable

__all__ = ["allowed_names", "check_one_name", "split_of"]

_SPLIT_NAMES = {
    "train": ("train", "training"),
    "valid": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval"),
}
"""Split -> the names that its folder or file may have."""


def split_of(name: str) -> str | None:
    """Find the split that a folder holds, by its name.

    Args:
      name: name of the folder, in upper or lower case.

    Returns:
      train, valid or test; None for any other name.
    """
    return next((split for split, names in _SPLIT_NAMES.items() if name.lower() in names), None)


def allowed_names() -> str:
    """List the allowed names of split folders, for an error message.

    Returns:
      The names, joined by commas.
    """
    return ", ".join(name for names in _SPLIT_NAMES.values() for name in names)


def check_one_name(names: Iterable[str], where: str) -> None:
    """Check that no split has folders of two names, such as `val` and `dev`: their examples would be merged.

    Args:
      names: names of split folders.
      where: start of the error message, such as "data_dir='x'".
    """
    folder_of_split: dict[str | None, str] = {}
    for name in sorted(names):
        if (other := folder_of_split.setdefault(split_of(name), name)) != name:
            raise ValueError(f"{where}: {other!r} and {name!r} are both the {split_of(name)} split; allowed: one")
