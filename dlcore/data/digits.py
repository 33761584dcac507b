"""The handwritten digits that come with scikit-learn: 1,797 images of 8 x 8, no download.

E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998 (its
test set). The order is that of the file, in which writers follow one another: the last 500 are by other writers.
"""

import functools

import numpy as np

from dlcore.choices import check_choice
from dlcore.data.source import Source

__all__ = ["digits"]

_SPLITS = {"train": slice(None, 1297), "test": slice(1297, None)}


def digits(split: str) -> Source:
    """Load one split: `image: [N, 8, 8, 1] float32 in [0, 1]`, `label: [N] int32 in [0, 10)`.

    Args:
      split: "train" (1,297 examples) or "test" (500).

    Returns:
      The split, copied, so that a caller may change its arrays.
    """
    check_choice("split", split, _SPLITS)
    image, label = _load()
    rows = _SPLITS[split]
    arrays = {"image": image[rows].copy(), "label": label[rows].copy()}
    return Source(arrays, class_names=tuple("0123456789"), name=f"digits/{split}")


@functools.cache
def _load() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.images[..., None] / 16).astype(np.float32), data.target.astype(np.int32)
