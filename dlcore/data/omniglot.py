"""Omniglot: characters of many alphabets, each written by the same twenty people.

Lake, Salakhutdinov & Tenenbaum, "Human-level concept learning through probabilistic program induction" (2015). The
file `omniglot28.npz` holds 28 x 28 binary images, packed into bits. Its background set is incomplete: 320 characters of
12 alphabets, where the original has 964 of 30. Its evaluation set is complete: 659 characters of 20 other alphabets.
"""

from pathlib import Path

import numpy as np

from dlcore.choices import check_choice, check_path
from dlcore.data.source import Source
from dlcore.models.weight_files import read_npz

__all__ = ["FILE", "omniglot"]

FILE = "omniglot28.npz"

_PARTS = ("background", "evaluation")
_ARRAYS = ("images", "character", "alphabet", "alphabet_names", "character_names")


def omniglot(data_dir: str | Path, part: str) -> Source:
    """Load one part: `image: [N, 28, 28, 1] uint8` (ink 255), `label: [N] int32`, the character.

    Args:
      data_dir: folder that contains `omniglot28.npz`.
      part: "background" (320 characters) or "evaluation" (659 characters).

    Returns:
      The part, in the order of its characters, twenty images each; class names are "Alphabet/character".

    Raises:
      FileNotFoundError: `data_dir` does not contain the file.
    """
    check_path("data_dir", data_dir)
    check_choice("part", part, _PARTS)
    path = Path(data_dir) / FILE
    if not path.is_file():
        raise FileNotFoundError(f"data_dir={str(data_dir)!r}: has no {FILE}; allowed: a folder with it")
    names = [f"{part}_{name}" for name in _ARRAYS]
    arrays = read_npz(path, names)
    if missing := [name for name in names if name not in arrays]:
        raise ValueError(f"path={str(path)!r}: has no {missing[0]}; allowed: {', '.join(names)}")
    packed, label, alphabet, alphabets, characters = (arrays[name] for name in names)
    label = label.astype(np.int32)
    images = np.unpackbits(packed, axis=1).reshape(-1, 28, 28, 1) * np.uint8(255)
    of = {int(c): str(alphabets[a]) for c, a in zip(label, alphabet, strict=True)}
    classes = tuple(f"{of[i]}/{name}" for i, name in enumerate(characters))
    return Source({"image": images, "label": label}, class_names=classes, name=f"omniglot/{part}")
