"""The strongest simple methods: what a person would try on data before any technique of the catalogue.

Each function is one kind of method, by scikit-learn where it has it: rows of numbers in, predictions or a score out.
Choices such as the number of neighbors are made on a validation split, never on the test split.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlcore.ops.checks import check_class_ids, check_finite, check_shapes

__all__ = [
    "best_classifier",
    "class_gaussians",
    "color_histograms",
    "discriminant_projection",
    "flat",
    "normalize_by_moments",
    "relabel",
    "spread_labels",
    "with_shifts",
]


def flat(images: np.ndarray) -> np.ndarray:
    """Flatten examples to rows of float32.

    Args:
      images: [N, ...], such as images or clips.

    Returns:
      [N, D]; bytes are divided by 255.
    """
    images = np.asarray(images)
    rows = images.reshape(len(images), -1).astype(np.float32)
    return rows / 255 if images.dtype == np.uint8 else rows


def best_classifier(
    train: tuple[np.ndarray, np.ndarray], valid: tuple[np.ndarray, np.ndarray], kinds: Sequence[str] = ("knn", "svm")
) -> tuple[str, Any]:
    """Fit simple classifiers, and choose the one that is best on the validation split.

    Args:
      train: (features [N, D], labels [N]).
      valid: (features [V, D], labels [V]).
      kinds: "knn" (1, 3, 5, 10, 20 neighbors), "logistic", "svm" (RBF kernel, C 1 and 10), "boosting" (boosted
        trees), "trees" (extremely randomized trees).

    Returns:
      (name of the classifier, the fitted classifier of scikit-learn).
    """
    from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    check_shapes(train=(train[0], "N D"), labels=(train[1], "N"), valid=(valid[0], "V D"))
    check_finite("train", train[0])
    candidates = {
        "knn": {f"{k}-NN": KNeighborsClassifier(k) for k in (1, 3, 5, 10, 20) if k <= len(train[0])},
        "logistic": {"logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=10000))},
        "svm": {f"SVM, RBF kernel, C={c}": SVC(C=c) for c in (1, 10)},
        "boosting": {"boosted trees": HistGradientBoostingClassifier(random_state=0)},
        "trees": {"extremely randomized trees": ExtraTreesClassifier(500, random_state=0)},
    }
    return _best({name: model.fit(*train) for kind in kinds for name, model in candidates[kind].items()}, valid)


def with_shifts(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add copies of images that are shifted by one pixel up, down, left and right; zeros come in.

    Args:
      images: [N, H, W, C].
      labels: [N].

    Returns:
      (images [5 N, H, W, C], first as they were; labels [5 N]).
    """
    images, labels = np.asarray(images), np.asarray(labels)
    check_shapes(images=(images, "N H W C"), labels=(labels, "N"))
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    corners = (1, 1), (2, 1), (0, 1), (1, 2), (1, 0)
    shifted = [padded[:, top : top + height, left : left + width] for top, left in corners]
    return np.concatenate(shifted), np.tile(labels, len(corners))


def spread_labels(
    labeled: tuple[np.ndarray, np.ndarray],
    unlabeled: np.ndarray,
    valid: tuple[np.ndarray, np.ndarray],
    neighbors: Sequence[int] = (5, 10, 20),
    alphas: Sequence[float] = (0.2, 0.9),
) -> tuple[str, Any]:
    """Spread few labels over the graph of nearest neighbors of all examples.

    Zhou et al. 2003, "Learning with local and global consistency".

    Args:
      labeled: (features [N, D], labels [N]).
      unlabeled: [M, D], features without labels; the labeled ones may be among them.
      valid: (features [V, D], labels [V]), which choose the graph and alpha.
      neighbors: numbers of neighbors to try.
      alphas: shares that an example takes from its neighbors, to try, in (0, 1).

    Returns:
      (name of the choice, the fitted classifier of scikit-learn).
    """
    from sklearn.semi_supervised import LabelSpreading

    x, y = labeled
    check_shapes(labeled=(x, "N D"), labels=(y, "N"), unlabeled=(unlabeled, "M D"), valid=(valid[0], "V D"))
    features = np.concatenate([x, unlabeled])
    labels = np.concatenate([y, np.full(len(unlabeled), -1)])
    fitted = {
        f"label spreading, {k} neighbors, alpha {alpha:g}": LabelSpreading(
            kernel="knn", n_neighbors=k, alpha=alpha, max_iter=1000
        ).fit(features, labels)
        for k in neighbors
        for alpha in alphas
    }
    return _best(fitted, valid)


def relabel(features: np.ndarray, labels: np.ndarray, k: int = 20) -> np.ndarray:
    """Give each example the most frequent label of its nearest examples, itself among them, to correct wrong labels.

    Args:
      features: [N, D].
      labels: [N] int.
      k: number of neighbors.

    Returns:
      [N] labels.
    """
    from sklearn.neighbors import KNeighborsClassifier

    check_shapes(features=(features, "N D"), labels=(labels, "int N"), k=(k, "int >= 1"))
    return KNeighborsClassifier(k).fit(features, labels).predict(features)


def class_gaussians(
    train: tuple[np.ndarray, np.ndarray],
    valid: tuple[np.ndarray, np.ndarray],
    variances: Sequence[float] = (1e-3, 3e-3, 1e-2, 3e-2, 0.1),
) -> tuple[str, Any]:
    """Fit one Gaussian a class, of all classes equally probable: what it keeps of a class needs no other class.

    Args:
      train: (features [N, D], labels [N] int from 0).
      valid: (features [V, D], labels [V]), which choose the variance.
      variances: variances to try, which are added to each feature's.

    Returns:
      (name of the choice, a classifier with `score` and `predict`).
    """
    check_shapes(train=(train[0], "N D"), labels=(train[1], "int N"), valid=(valid[0], "V D"))
    check_finite("train", train[0])
    return _best({f"one Gaussian a class, + {v:g}": _Gaussians(*train, v) for v in variances}, valid)


class _Gaussians:
    """The class of the largest Gaussian density."""

    def __init__(self, x: np.ndarray, y: np.ndarray, variance: float):
        self.classes, self.gaussians = np.unique(y), []
        for c in self.classes:
            rows = np.asarray(x[y == c], np.float64)
            values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(rows, rowvar=False, bias=True)))
            values = values.clip(0) + variance
            self.gaussians.append((rows.mean(0), vectors / np.sqrt(values), np.log(values).sum()))

    def predict(self, x: np.ndarray) -> np.ndarray:
        scores = [np.square((x - mean) @ whiten).sum(1) + log_det for mean, whiten, log_det in self.gaussians]
        return self.classes[np.argmin(scores, 0)]

    def score(self, x: np.ndarray, y: np.ndarray) -> float:
        return float((self.predict(x) == y).mean())


def color_histograms(images: np.ndarray, bins: int = 6) -> np.ndarray:
    """Count the colors of each image, as the square roots of their shares (Hellinger's distance is then Euclid's).

    Args:
      images: [N, H, W, 3], uint8, or float in [0, 1].
      bins: intervals of each of the three colors.

    Returns:
      [N, bins^3] float32.
    """
    images = np.asarray(images)
    check_shapes(images=(images, "N H W 3"), bins=(bins, "int >= 1"))
    values = flat(images).reshape(len(images), -1, 3)
    level = np.clip((values * bins).astype(int), 0, bins - 1) @ (bins**2, bins, 1)
    counts = np.stack([np.bincount(row, minlength=bins**3) for row in level])
    return np.sqrt(counts / level.shape[1]).astype(np.float32)


def normalize_by_moments(images: np.ndarray, spread: float = 0.2) -> np.ndarray:
    """Move and scale each drawing so that its ink has its mean in the middle, and a given standard deviation.

    Args:
      images: [N, H, W, 1] float, ink above 0; no image is empty.
      spread: standard deviation of the ink's position, root mean square of both axes, as a share of the side.

    Returns:
      [N, H, W, 1] float32, by linear interpolation.
    """
    from scipy.ndimage import affine_transform

    images = np.asarray(images, np.float32)
    check_shapes(images=(images, "N H W 1"))
    positions = np.indices(images.shape[1:3]).reshape(2, -1)  # [2, P]
    side, middle = max(images.shape[1:3]), (np.array(images.shape[1:3]) - 1) / 2
    normalized = []
    for image in images[..., 0]:
        ink = image.ravel() / image.sum()
        mean = positions @ ink
        scale = np.sqrt((np.square(positions - mean[:, None]) @ ink).mean()) / (spread * side)
        scale = max(scale, 1e-3)  # ink of a single pixel
        normalized.append(affine_transform(image, [scale, scale], mean - scale * middle, order=1))
    return np.stack(normalized)[..., None]


def discriminant_projection(features: np.ndarray, labels: np.ndarray, size: int, shrinkage: float = 0.3) -> Any:
    """Fit Fisher's linear discriminant analysis as a projection, in which other classes are compared.

    Args:
      features: [N, D].
      labels: [N] int from 0.
      size: dimensions of the projection, below the number of classes.
      shrinkage: share of a multiple of the identity in the covariance within classes, from 0 to 1.

    Returns:
      A function, features [M, D] -> [M, size].
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    check_shapes(features=(features, "N D"), labels=(labels, "int N"), size=(size, "int >= 1"))
    check_class_ids("labels", labels, int(np.max(labels)) + 1)
    model = LinearDiscriminantAnalysis(solver="eigen", shrinkage=shrinkage, n_components=size)
    return model.fit(features, labels).transform


def _best(fitted: Mapping[str, Any], valid: tuple[np.ndarray, np.ndarray]) -> tuple[str, Any]:
    """Choose the first of the best classifiers on the validation split."""
    name = max(fitted, key=lambda name: fitted[name].score(*valid))
    return name, fitted[name]
