"""Fashion-MNIST's table of classifiers of scikit-learn, on clothes and on digits."""

import functools
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import optax
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Perceptron, SGDClassifier
from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier

from dlcore.classic_ml import logistic, naive_bayes, nearest_neighbor
from dlcore.classification import supervised
from dlcore.data.source import Source
from dlcore.models.mlp import MLP
from experiments.papers.table import Run, Table
from experiments.papers.training import draw_head, error, source, train

__all__ = ["TABLES"]

DATA = {"Fashion-MNIST": "fashion_mnist", "MNIST": "mnist"}


@functools.cache
def standardized(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Load (training rows [N, 784], labels, test rows, labels), each pixel of mean 0 and variance 1 in training."""
    train_set, test_set = source(name).arrays, source(name, "test").arrays
    rows = train_set["image"].reshape(-1, 784)
    mean, std = rows.mean(0), rows.std(0)
    std[std == 0] = 1
    scaled = [((x["image"].reshape(-1, 784) - mean) / std).astype(np.float32) for x in (train_set, test_set)]
    return scaled[0], train_set["label"], scaled[1], test_set["label"]


def both(title: str, fashion: float, digits: float, accuracy: Callable, seeds: tuple[int, ...] = (0, 1, 2)) -> Run:
    """Run a classifier on both data sets.

    Args:
      title: name of the row.
      fashion: the paper's accuracy of clothes, in [0, 1].
      digits: the paper's accuracy of digits.
      accuracy: (name of the data set, seed) -> accuracy in [0, 1].
      seeds: seeds to measure.
    """
    published = {f"{title}, {data}": 100 * value for data, value in zip(DATA, (fashion, digits), strict=True)}

    def measure(seed: int) -> dict[str, float]:
        return {f"{title}, {data}": 100 * accuracy(name, seed) for data, name in DATA.items()}

    return Run(title, measure, published, seeds=seeds)


def scikit(kind: Callable[..., Any], **settings) -> Callable[[str, int], float]:
    """Fit a classifier of scikit-learn to examples in a random order."""

    def accuracy(name: str, seed: int) -> float:
        x, y, test_x, test_y = standardized(name)
        order = np.random.default_rng(seed).permutation(len(x))
        return float(kind(random_state=seed, **settings).fit(x[order], y[order]).score(test_x, test_y))

    return accuracy


def perceptrons(hidden: tuple[int, ...], activation: Literal["relu", "tanh"]) -> Callable[[str, int], float]:
    """Train dlcore's multi-layer perceptron with scikit-learn's optimizer, batch and penalty, for 40 epochs."""
    model = MLP(hidden=hidden, activation=activation)
    learner = supervised.learner(model=model, optimizer=optax.adam(1e-3), l2=1e-4 / 200)

    def accuracy(name: str, seed: int) -> float:
        x, y, test_x, test_y = standardized(name)
        state = train(learner, Source({"image": x, "label": y}), epochs=40, batch_size=200, seed=seed, start=draw_head)
        return 1 - error(learner, state, Source({"image": test_x, "label": test_y})) / 100

    return accuracy


def newton(c: float) -> Callable[[str, int], float]:
    """Fit dlcore's logistic regression, one class against the rest."""

    def accuracy(name: str, seed: int) -> float:
        x, y, test_x, test_y = standardized(name)
        model = logistic.train(x, y, l2=1 / c, steps=10)
        return float(np.mean(logistic.predict(model, test_x) == test_y))

    return accuracy


def bayes(name: str, seed: int) -> float:
    """Fit dlcore's Gaussian naive Bayes."""
    x, y, test_x, test_y = standardized(name)
    return float(np.mean(naive_bayes.predict(naive_bayes.train(x, y), test_x) == test_y))


NEIGHBORS = (1, 5, 9)


@functools.cache
def neighbor_labels(name: str) -> np.ndarray:
    """Let the nearest training images vote, by the Euclidean distance, [len(NEIGHBORS), N]."""
    x, y, test_x, _ = standardized(name)
    model = nearest_neighbor.train(x, y, k=max(NEIGHBORS), metric="l2")
    return nearest_neighbor.predict_for_each_k(model, test_x, NEIGHBORS)


def neighbors(k: int) -> Callable[[str, int], float]:
    """Measure the vote of k neighbors."""

    def accuracy(name: str, seed: int) -> float:
        return float(np.mean(neighbor_labels(name)[NEIGHBORS.index(k)] == standardized(name)[3]))

    return accuracy


SGD = {"max_iter": 5, "tol": None}
"""Passes over the data of the linear classifiers in the versions of scikit-learn of 2017."""
ONCE = (0,)

TABLES = (
    Table(
        key="fashion-mnist-classifiers",
        paper="Xiao, Rasul & Vollgraf 2017, Fashion-MNIST",
        place="Table 3",
        source="arXiv 1708.07747; settings also of zalandoresearch/fashion-mnist@5e60fd29, benchmark/runner.py",
        setting="Classifiers of scikit-learn, pixels of mean 0 and variance 1; 60,000 training images in random order, "
        "10,000 test images; the mean of up to 5 orders.",
        metric="test accuracy, %",
        better="higher",
        margin=1.0,
        runs=(
            both("GaussianNB", 0.511, 0.524, bayes, ONCE),
            both("k-NN, k=1, p=2", 0.839, 0.943, neighbors(1), ONCE),
            both("k-NN, uniform, k=5, p=2", 0.849, 0.944, neighbors(5), ONCE),
            both("k-NN, uniform, k=9, p=2", 0.847, 0.943, neighbors(9), ONCE),
            both("SGDClassifier hinge l2", 0.819, 0.914, scikit(SGDClassifier, **SGD)),
            both("SGDClassifier log l2", 0.813, 0.913, scikit(SGDClassifier, loss="log_loss", **SGD)),
            both("Perceptron l1", 0.782, 0.887, scikit(Perceptron, penalty="l1", **SGD)),
            both("Perceptron l2", 0.754, 0.845, scikit(Perceptron, penalty="l2", **SGD)),
            both(
                "PassiveAggressive, C=1",
                0.776,
                0.877,
                scikit(SGDClassifier, penalty=None, learning_rate="pa1", eta0=1.0, **SGD),
            ),
            both("ExtraTree gini, depth 10", 0.775, 0.806, scikit(ExtraTreeClassifier, max_depth=10)),
            both(
                "RandomForest, 10 trees gini, depth 10",
                0.825,
                0.930,
                scikit(RandomForestClassifier, n_estimators=10, max_depth=10),
            ),
            both(
                "DecisionTree entropy, depth 10",
                0.798,
                0.873,
                scikit(DecisionTreeClassifier, criterion="entropy", max_depth=10),
                ONCE,
            ),
            both("DecisionTree gini, depth 10", 0.788, 0.866, scikit(DecisionTreeClassifier, max_depth=10), ONCE),
            both("MLP relu [100]", 0.871, 0.972, perceptrons((100,), "relu"), ONCE),
            both("MLP tanh [100]", 0.868, 0.962, perceptrons((100,), "tanh"), ONCE),
            both("MLP relu [100, 10]", 0.870, 0.972, perceptrons((100, 10), "relu"), ONCE),
            both("MLP relu [10]", 0.848, 0.933, perceptrons((10,), "relu"), ONCE),
            both("MLP tanh [10]", 0.840, 0.921, perceptrons((10,), "tanh"), ONCE),
            both(
                "RandomForest, 100 trees gini, depth 10",
                0.835,
                0.949,
                scikit(RandomForestClassifier, n_estimators=100, max_depth=10),
                ONCE,
            ),
            both(
                "RandomForest, 100 trees entropy, depth 100",
                0.873,
                0.970,
                scikit(RandomForestClassifier, n_estimators=100, criterion="entropy", max_depth=100),
                ONCE,
            ),
            both("LogisticRegression ovr l2, C=1", 0.841, 0.917, newton(1), ONCE),
        ),
        differs="Naive Bayes, k-NN, logistic regression and the MLP are dlcore's; the MLP trains for 40 epochs, "
        "without scikit-learn's test for convergence; scikit-learn is 1.9; naive Bayes has the priors of the data.",
        verdict="On MNIST 18 of 20 classifiers are where the table has them; a single extra tree is 7 points lower. On "
        "Fashion-MNIST all others of ours are better than the table, naive Bayes by 6 points and most by 0.3 to 2, "
        "with the code that meets it on MNIST; we do not know why.",
    ),
)
