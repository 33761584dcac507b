"""Convert images and labels to rows and class indices, the form in which every classifier here takes them.

To these classifiers an image of any shape is a point of R^D, D = H · W · C.
"""

from typing import Any, NamedTuple

import numpy as np

__all__ = ["Examples", "as_examples", "as_rows"]


class Examples(NamedTuple):
    """Training examples as rows.

    Args:
      rows: [N, D] float.
      label: [N] int32, indices into `classes`.
      classes: [C], the labels that occur, ascending.
    """

    rows: np.ndarray
    label: np.ndarray
    classes: np.ndarray


def as_rows(images: Any, width: int | None = None) -> np.ndarray:
    """Flatten images to rows; float64 stays, as do integers that float32 cannot hold; others become float32.

    Args:
      images: [N, ...], finite.
      width: the D that the rows must have; None allows any.

    Returns:
      [N, D].
    """
    try:
        images = np.asarray(images)
    except ValueError as error:
        raise ValueError("images: of several sizes; allowed: [N, ...], all of one size") from error
    if images.ndim < 2 or 0 in images.shape[1:]:
        problem = "too few axes" if images.ndim < 2 else "no pixels"
        raise ValueError(f"images.shape={images.shape}: {problem}; allowed: [N, ...]")
    if images.dtype.kind in "cmMOSU":
        raise ValueError(f"images.dtype={images.dtype}: no numbers; allowed: integers, floats or bools")
    rows = images.reshape(len(images), int(np.prod(images.shape[1:])))
    if width is not None and rows.shape[1] != width:
        raise ValueError(
            f"images.shape={images.shape}: {rows.shape[1]} numbers per example; allowed: {width}, as in training"
        )
    is_wide = rows.dtype == np.float64 or (rows.dtype.kind in "iu" and (rows.astype(np.float32) != rows).any())
    rows = rows.astype(np.float64 if is_wide else np.float32)
    if not np.isfinite(rows).all():
        raise ValueError(f"images[{_first_bad(rows)}]: has numbers that are not finite; allowed: finite numbers")
    return rows


def as_examples(images: Any, labels: Any) -> Examples:
    """Flatten images to rows and map labels to class indices.

    Args:
      images: [N, ...], finite.
      labels: [N], any integers.

    Returns:
      Examples.
    """
    rows = as_rows(images)
    try:
        labels = np.asarray(labels)
    except ValueError as error:
        raise ValueError("labels: rows of several lengths; allowed: [N] integers") from error
    if labels.shape != (len(rows),) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels={labels.dtype}{list(labels.shape)}: does not fit images; allowed: [{len(rows)}] integers"
        )
    if not len(rows):
        raise ValueError("images=[]: empty; allowed: at least one example")
    classes, label = np.unique(labels, return_inverse=True)
    return Examples(rows, label.astype(np.int32), classes)


def _first_bad(rows: np.ndarray) -> int:
    return int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
