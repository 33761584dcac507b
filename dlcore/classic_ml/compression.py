"""Compression: bits per image against its error, by principal components and by JPEG; and prototypes that summarize.

Shannon 1948 (an ideal code of a symbol of probability p has -log2 p bits); Wallace 1991, "The JPEG still picture
compression standard"; Goyal 2001, "Theoretical foundations of transform coding".

    PCA            y = V_k^T (x - mean),   l = round(y / step),   x^ = mean + V_k step l
    its error      E |x - V_k y - mean|^2 = sum of the eigenvalues after the k-th, on the images of the fit, unrounded
    code length    sum over coefficients of -log2 p(l), p from the images of the fit: one more count than seen
    prototypes     each has the label that most of its images have; a new image has the label of its nearest prototype
"""

import io
from typing import Any

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.classic_ml.kmeans import nearest_center
from dlcore.classic_ml.points import check_points
from dlcore.data.preprocess import PCA
from dlcore.ops.checks import check_finite, check_range, check_shapes

__all__ = ["dropped_variance", "jpeg_code", "level_bits", "pca_code", "prototype_accuracy"]


def dropped_variance(variance: Any, total: float) -> np.ndarray:
    """Compute the mean squared error that the first 0, 1, 2, ... principal components leave.

    Args:
      variance: [K], eigenvalues of the covariance, largest first.
      total: sum of all D eigenvalues, the variance of the data.

    Returns:
      [K + 1], sums over the D numbers of an example, falling.
    """
    variance = np.asarray(variance, np.float64)
    if variance.ndim != 1:
        raise ValueError(f"variance.shape={variance.shape}: not a list of eigenvalues; allowed: [K]")
    check_range("variance", variance, 0)
    check_shapes(total=(total, ""))
    check_finite("total", total)
    if variance.sum() > total * (1 + 1e-6):
        raise ValueError(f"total={total}: below the {variance.sum()} of the eigenvalues; allowed: their sum or more")
    return np.maximum(total - np.concatenate([[0.0], variance.cumsum()]), 0.0)


def level_bits(levels: Any, train_levels: Any) -> np.ndarray:
    """Measure the ideal code length of integers whose probabilities are those of other integers of the same place.

    Every place has a table of its own: p(l) = (count of l + 1) / (N + number of levels between the extremes of both).

    Args:
      levels: [M, K] integers to be coded.
      train_levels: [N, K] integers whose counts give the probabilities.

    Returns:
      [M], bits of each row.
    """
    levels, train_levels = np.asarray(levels), np.asarray(train_levels)
    for name, value in (("levels", levels), ("train_levels", train_levels)):
        if value.ndim != 2 or not np.issubdtype(value.dtype, np.integer) or not value.size:
            raise ValueError(f"{name}={value.dtype}{list(value.shape)}: not a table of integers; allowed: [N, K] ints")
    if levels.shape[1] != train_levels.shape[1]:
        raise ValueError(f"levels.shape={levels.shape}: other columns than the {train_levels.shape[1]} of train_levels")
    bits = np.zeros(len(levels))
    for column, train in zip(levels.T, train_levels.T, strict=True):
        low = min(column.min(), train.min())
        # Add-one smoothing: no integer in the range has probability 0.
        counts = np.bincount(train - low, minlength=max(column.max(), train.max()) - low + 1) + 1
        bits -= np.log2(counts / counts.sum())[column - low]
    return bits


def pca_code(pca: PCA, images: Any, train: Any, num_components: int, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Code images by rounded principal components.

    Args:
      pca: fitted on `train`, not whitened.
      images: [M, ...] floats.
      train: [N, ...] floats, of which the code lengths are learned.
      num_components: k, number of leading components that are kept.
      step: distance of neighboring levels, in units of the images.

    Returns:
      (decoded images [M, ...], bits of each image [M]).
    """
    most = pca.basis.shape[1]
    check_whole_number("num_components", num_components)
    if not 1 <= num_components <= most:
        raise ValueError(f"num_components={num_components}: out of range; allowed: 1..{most}")
    check_shapes(step=(step, "> 0"))
    check_finite("step", step)
    if pca.whiten:
        raise ValueError("pca.whiten=True: its components have no common unit; allowed: False")
    check_finite("images", images)
    check_finite("train", train)
    levels, train_levels = (
        np.rint(np.asarray(pca(np.asarray(x, np.float32)))[:, :num_components] / step).astype(np.int64)
        for x in (images, train)
    )
    y = np.zeros((len(levels), most))
    y[:, :num_components] = levels * step
    return np.asarray(pca.inverse(y)), level_bits(levels, train_levels)


def jpeg_code(image: Any, quality: int) -> tuple[np.ndarray, int]:
    """Code an image by JPEG, in Pillow with standard Huffman tables and 4:2:0 colors.

    Args:
      image: [H, W, 3] or [H, W] uint8.
      quality: 1 (smallest) to 95.

    Returns:
      (decoded image, uint8 of the same shape; bits of its entropy-coded segment, without the header, which is the same
      for all images of a size and a quality).
    """
    from PIL import Image

    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)) or not image.size:
        raise ValueError(f"image={image.dtype}{list(image.shape)}: no image; allowed: uint8 [H, W, 3] or [H, W]")
    check_whole_number("quality", quality)
    if not 1 <= quality <= 95:
        raise ValueError(f"quality={quality}: out of range; allowed: 1..95")
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    data = buffer.getvalue()
    # Count the coded data alone: tables and headers would dominate a small image.
    scan = data.index(b"\xff\xda")  # start of scan: marker, length of its header, header, coded data, end marker
    header = 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    return np.asarray(Image.open(buffer)), 8 * (len(data) - scan - header - 2)


def prototype_accuracy(prototypes: Any, train: Any, labels: Any, test: Any, test_labels: Any) -> float:
    """Classify by the nearest prototype, which has the label that most of its training examples have.

    Args:
      prototypes: [K, D].
      train: [N, D], of which each prototype gets its label; one without examples is never asked.
      labels: [N] int.
      test: [M, D].
      test_labels: [M] int.

    Returns:
      Accuracy on the test examples.
    """
    prototypes, labels, test_labels = np.asarray(prototypes), np.asarray(labels), np.asarray(test_labels)
    check_points("prototypes", prototypes)
    for name, x, y in (("labels", train, labels), ("test_labels", test, test_labels)):
        check_points("train" if name == "labels" else "test", x, dim=prototypes.shape[1])
        if y.shape != (len(x),):
            raise ValueError(f"{name}.shape={y.shape}: not one label an example; allowed: ({len(x)},)")
        if y.dtype.kind not in "iu":
            raise ValueError(f"{name}.dtype={y.dtype}: no integers; allowed: integers")
        check_range(name, y, 0)
    votes = np.zeros((len(prototypes), labels.max() + 1), np.int64)  # [K, C]
    np.add.at(votes, (np.asarray(nearest_center(train, prototypes)[0]), labels), 1)
    used = votes.sum(1) > 0
    nearest = np.asarray(nearest_center(test, prototypes[used])[0])
    return float((votes[used].argmax(1)[nearest] == test_labels).mean())
