"""The strongest simple methods: what a person would try on data before any technique of the catalogue.

Each function is one kind of method, by scikit-learn where it has it: rows of numbers in, predictions or a score out.
Choices such as the number of neighbors are made on a validation split, never on the test split.
"""

from collections.abc import Sequence

import numpy as np

from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["best_classifier", "flat"]


def flat(images: np.ndarray) -> np.ndarray:
    """Flatten examples to rows of float32.

    Args:
      images: [N, ...], such as images or clips.

    Returns:
      [N, D].
    """
    return np.asarray(images, np.float32).reshape(len(images), -1)


def best_classifier(
    train: tuple[np.ndarray, np.ndarray], valid: tuple[np.ndarray, np.ndarray], kinds: Sequence[str] = ("knn", "svm")
) -> tuple[str, object]:
    """Fit simple classifiers, and choose the one that is best on the validation split.

    Args:
      train: (features [N, D], labels [N]).
      valid: (features [V, D], labels [V]).
      kinds: "knn" (1, 3, 5, 10, 20 neighbors), "logistic", "svm" (RBF kernel, C 1 and 10), "trees" (extremely
        randomized trees).

    Returns:
      (name of the classifier, the fitted classifier of scikit-learn).
    """
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    check_shapes(train=(train[0], "N D"), labels=(train[1], "N"), valid=(valid[0], "V D"))
    check_finite("train", train[0])
    candidates = {
        "knn": {f"{k}-NN": KNeighborsClassifier(k) for k in (1, 3, 5, 10, 20) if k <= len(train[0])},
        "logistic": {"logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))},
        "svm": {f"SVM, RBF kernel, C={c}": SVC(C=c) for c in (1, 10)},
        "trees": {"extremely randomized trees": ExtraTreesClassifier(500, random_state=0)},
    }
    fitted = {name: model.fit(*train) for kind in kinds for name, model in candidates[kind].items()}
    name = max(fitted, key=lambda name: fitted[name].score(*valid))
    return name, fitted[name]
