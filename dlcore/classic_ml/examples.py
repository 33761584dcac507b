"""Examples as rows: what every classifier here makes of its images and labels before it looks at them.

Whatever the shape of an image, these classifiers see a point of R^D, D = H · W · C.
"""

from typing import Any, NamedTuple

import numpy as np

__all__ = ["Examples", "as_examples", "as_rows"]


class Examples(NamedTuple):
    """rows: [N, D] float. label: [N] int32 positions in `classes`. classes: [C], the labels that occur, ascending."""

    rows: np.ndarray
    label: np.ndarray
    classes: np.ndarray


def as_rows(images: Any, width: int | None = None) -> np.ndarray:
    """Images [N, ...] -> [N, D]: float64 stays, everything else becomes float32. `width` is the D it must have.

    Raises:
      ValueError: there is no axis but the first, a number is not finite, or D is not `width`.
    """
    images = np.asarray(images)
    if images.ndim < 2:
        raise ValueError(f"images has shape {images.shape}; it must be [N, ...] with N examples")
    rows = images.reshape(len(images), int(np.prod(images.shape[1:])))
    if width is not None and rows.shape[1] != width:
        raise ValueError(f"images has {rows.shape[1]} numbers an example; the classifier was trained on {width}")
    rows = rows if rows.dtype == np.float64 else rows.astype(np.float32)
    if not np.isfinite(rows).all():
        raise ValueError(f"images holds numbers that are not finite, first in example {_first_bad(rows)}")
    return rows


def as_examples(images: Any, labels: Any) -> Examples:
    """Images [N, ...] and labels [N] of any integers.

    Raises:
      ValueError: see `as_rows`; the labels are not N integers, or N is 0.
    """
    rows, labels = as_rows(images), np.asarray(labels)
    if labels.shape != (len(rows),) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels is {labels.dtype} of shape {labels.shape}; it must be [{len(rows)}] integers")
    if not len(rows):
        raise ValueError("images is empty; there must be at least one example")
    classes, label = np.unique(labels, return_inverse=True)
    return Examples(rows, label.astype(np.int32), classes)


def _first_bad(rows: np.ndarray) -> int:
    return int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
