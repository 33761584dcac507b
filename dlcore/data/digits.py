"""The handwritten digits that come with scikit-learn: 1,797 images of 8 x 8, no download.

E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998 (its
test set). The order is that of the file, in which writers come one after another: the last 500 are other people's.
"""

import functools

import numpy as np

from dlcore.data.source import Source

__all__ = ["digits"]

_SPLITS = {"train": slice(None, 1297), "test": slice(1297, None)}


def digits(split: str) -> Source:
    """`image: [N, 8, 8, 1] float32 in [0, 1]`, `label: [N] int32 in [0, 10)`; train has 1,297 examples, test 500.

    Raises: ValueError for a split other than "train" and "test".
    """
    if split not in _SPLITS:
        raise ValueError(f"split is {split!r}; allowed are {sorted(_SPLITS)}")
    image, label = _load()
    rows = _SPLITS[split]
    arrays = {"image": image[rows].copy(), "label": label[rows].copy()}
    return Source(arrays, class_names=tuple("0123456789"), name=f"digits/{split}")


@functools.cache
def _load() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.images[..., None] / 16).astype(np.float32), data.target.astype(np.int32)
