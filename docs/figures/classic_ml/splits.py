"""Figure of dlcore.classic_ml.splits; its docstring is the caption."""

from typing import TYPE_CHECKING

import numpy as np

from dlcore.classic_ml.nearest_neighbor import predict_for_each_k, train
from dlcore.classic_ml.splits import cross_validate, k_folds, shuffled_split
from dlcore.data.digits import digits
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["splits"]


def splits() -> "Figure":
    """Left: the best of many classifiers that guess two classes, chosen on 150 validation examples.

    Its accuracy there rises with the number of choices, while that on the test examples stays at a half. Right: five
    folds of 200 digits. One fold alone (gray) may rank the numbers of neighbors differently; their mean (blue) is
    steadier.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2)
    split, numbers = shuffled_split(1000), (1, 3, 10, 30, 100, 300, 1000)
    best = []
    for number in numbers:
        trials = []
        for seed in range(20):
            correct = np.random.default_rng(seed).random((number, 1000)) < 0.5
            winner = correct[np.argmax(correct[:, split.valid].mean(1))]
            trials.append((winner[split.valid].mean(), winner[split.test].mean()))
        best.append(np.mean(trials, 0))
    for values, name, style, color in zip(
        np.transpose(best), ("validation", "test"), ("o-", "s--"), (VERMILION, BLUE), strict=True
    ):
        left.semilogx(numbers, values, style, color=color, markersize=4, label=name)
    left.set(xlabel="classifiers to choose from", ylabel="accuracy of the chosen one", ylim=(0.45, 0.68))
    left.legend(frameon=False, loc="upper left")
    arrays, ks = digits("train").arrays, list(range(1, 20, 2))
    images, labels = arrays["image"][:200], arrays["label"][:200]
    accuracy = cross_validate(
        lambda x, y, new: predict_for_each_k(train(x, y), new, ks), images, labels, k_folds(200, 5, seed=0)
    )
    right.plot(ks, accuracy, color=GRAY, linewidth=0.8)
    right.plot(ks, accuracy.mean(1), "o-", color=BLUE, markersize=4)
    right.set(xlabel="k, neighbors that vote", ylabel="accuracy on the held-out fold", xticks=ks[::2])
    return figure
