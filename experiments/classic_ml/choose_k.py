"""Choose k of k nearest neighbors by cross-validation or on one validation set; evaluate once on the test set.

python -m experiments.classic_ml.choose_k
python -m experiments.classic_ml.choose_k --dataset=mnist --data_dir=DIR --limit=10000

Every k on every fold, for L1 and L2, and on a validation set carved from training. Only the k and distance of the best
mean over the folds see the test examples, with all that is not test to vote.

References: Cover & Hart 1967, "Nearest neighbor pattern classification"; CS231n, "Image classification".

Seen on digits: 5 folds choose k = 1 and L2 (98.7 %; L1 98.4 %), the validation set k = 1 too; 96.0 % on the test set.
The test digits are of other writers: no fold knows how much harder they are.
"""

from typing import Literal

import numpy as np

from dlcore.classic_ml import nearest_neighbor
from dlcore.classic_ml.splits import TestExamples, cross_validate, k_folds
from dlcore.data.image_classification import load
from dlcore.experiment import Headline, Seed, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, VERMILION, new_figure

KS = (1, 3, 5, 10, 20, 50, 100)
COLORS = {"l1": VERMILION, "l2": BLUE}


def predict_each(metric: str):
    def predict(images, labels, new):
        return nearest_neighbor.predict_for_each_k(nearest_neighbor.train(images, labels, metric=metric), new, KS)

    return predict


def draw(by_metric, on_valid, best):
    figure, ax = new_figure((7, 3.6), grid="both")
    for metric, values in by_metric.items():
        mean, spread, color = 100 * values.mean(1), 100 * values.std(1, ddof=1), COLORS[metric]
        ax.errorbar(KS, mean, spread, fmt="o-", color=color, capsize=3, label=f"{metric.upper()}, mean of the folds")
        ax.plot(KS, 100 * on_valid[metric], "x:", color=color, alpha=0.7, label=f"{metric.upper()}, one validation set")
    ax.plot(best[1], 100 * by_metric[best[0]].mean(1).max(), "o", ms=14, mfc="none", color="black")
    ax.set_xscale("log")
    ax.set_xticks(KS, KS)
    ax.minorticks_off()
    ax.set(xlabel="neighbors", ylabel="accuracy, % (bar: std of the folds)")
    ax.legend(frameon=False, fontsize=8)
    return figure


def study(
    *,
    folds: Literal[3, 5, 10] = 5,
    dataset: str = "digits",
    data_dir: str | None = None,
    limit: int | None = None,
    seed: Seed = 0,
) -> StudyResult:
    """Choose k and the distance, and evaluate the choice on the test set.

    Args:
      folds: number of cross-validation folds.
      dataset: digits, mnist, fashion_mnist, cifar10.
      limit: maximum number of training examples; None uses all.
      seed: seed of the folds and the validation set.
    """
    splits = load(dataset, data_dir, seed=seed)
    train = splits.train if limit is None else splits.train.take(limit)
    (images, labels), (valid, valid_labels), test = (
        (part.arrays["image"] / np.float32(255 if part.arrays["image"].dtype == np.uint8 else 1), part.arrays["label"])
        for part in (train, splits.valid, splits.test)
    )
    once = TestExamples(*test)
    parts = k_folds(len(images), folds, seed)
    by_metric = {metric: cross_validate(predict_each(metric), images, labels, parts) for metric in COLORS}
    on_valid = {m: (predict_each(m)(images, labels, valid) == valid_labels).mean(1) for m in COLORS}
    metric = max(by_metric, key=lambda m: by_metric[m].mean(1).max())
    k = KS[by_metric[metric].mean(1).argmax()]
    all_labeled = np.concatenate([images, valid]), np.concatenate([labels, valid_labels])
    model = nearest_neighbor.train(*all_labeled, k=k, metric=metric)
    accuracy = once.evaluate(lambda new: nearest_neighbor.predict(model, new))
    numbers = {f"{m}, mean of the folds, k = {KS}": values.mean(1).tolist() for m, values in by_metric.items()}
    numbers |= {f"{m}, std of the folds": values.std(1, ddof=1).tolist() for m, values in by_metric.items()}
    numbers |= {f"{m}, validation set": values.tolist() for m, values in on_valid.items()}
    numbers["test accuracy of the chosen"] = accuracy
    other = {m: KS[int(on_valid[m].argmax())] for m in COLORS}
    verdict = (
        f"{folds} folds choose k = {k} and {metric.upper()} ({by_metric[metric].mean(1).max():.1%}); the validation "
        f"set alone would choose k = {other['l1']} for L1 and {other['l2']} for L2. On the test examples the choice "
        f"of the folds has {accuracy:.1%}."
    )
    headline = Headline("test accuracy of the chosen k", accuracy, dataset)
    return StudyResult(numbers, verdict, {"choose_k": draw(by_metric, on_valid, (metric, k))}, headline=headline)


experiment = Study(__file__, __doc__, study, smoke={"folds": 3, "limit": 300})

if __name__ == "__main__":
    main(experiment)
