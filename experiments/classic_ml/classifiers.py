"""Every classifier of classic_ml on one data set: settings by the validation examples, the test examples once each.

python -m experiments.classic_ml.classifiers
python -m experiments.classic_ml.classifiers --dataset=mnist --data_dir=DIR --only="neighbor, L2"
python -m experiments.classic_ml.classifiers --dataset=cifar10 --data_dir=DIR --only="neighbor, L2"

The settings tried are k of the nearest neighbors and the strength of the penalty of what has one. The best on the
validation examples is trained again with them added. No image is changed but for the division by 255.

Reference: Hastie, Tibshirani & Friedman 2009, "The elements of statistical learning".

Seen on digits, % of the test set, 27 s in all: nearest neighbor L1 95.2, L2 and cosine 96.0 (k = 1 for each); Gaussian
naive Bayes 88.0; perceptron 89.6; softmax 93.2; hinge 92.4; one against rest, logistic 90.4 (by Newton 91.0) and
squared hinge 91.2; two layers 93.4, three 92.8; support vectors, later, 94.6 in another 8 s. With L2, choice of k and
test together: MNIST 97.05 (k = 3) in 110 s, CIFAR-10 35.30 (k = 1; a JPEG-recompressed copy) in 217 s, on two cores
beside other jobs.
"""

import time
from typing import Any

import numpy as np

from dlcore.classic_ml import nearest_neighbor
from dlcore.classic_ml.classifiers import CLASSIFIERS, Classifier
from dlcore.classic_ml.splits import TestExamples
from dlcore.data.image_classification import load
from dlcore.data.source import Source
from dlcore.experiment import Headline, Seed, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, VERMILION, new_figure

KS = (1, 3, 5, 10, 20, 50)
PENALTIES = {"l2": (1e-5, 1e-4, 1e-3, 1e-2)}
NEWTON = {"l2": (0.1, 1.0, 10.0)}
SETTINGS: dict[str, dict[str, tuple]] = {
    "softmax": PENALTIES,
    "logistic, one against rest": PENALTIES,
    "logistic, by Newton": NEWTON,
    "hinge": PENALTIES,
    "squared hinge, one against rest": PENALTIES,
    "support vectors, RBF kernel": {"c": (1.0, 10.0, 100.0)},
    "two layers": PENALTIES,
    "three layers": PENALTIES,
    "Gaussian naive Bayes": {"smoothing": (1e-4, 1e-3, 1e-2, 1e-1)},
}


def arrays(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, H, W, C] in [0, 1] and labels [N]."""
    image = source.arrays["image"]
    return (image / np.float32(255) if image.dtype == np.uint8 else image), source.arrays["label"]


def choose(name: str, classifier: Classifier, train: tuple, valid: tuple) -> tuple[dict[str, Any], float]:
    """(the best settings, their validation accuracy); of equals the first."""
    if name.startswith("nearest"):
        ks = [k for k in KS if k <= len(train[0])]
        predictions = nearest_neighbor.predict_for_each_k(classifier.train(*train), valid[0], ks)
        scores = (predictions == valid[1]).mean(1)
        return {"k": ks[scores.argmax()]}, float(scores.max())
    candidates = [{key: value} for key, values in SETTINGS.get(name, {}).items() for value in values] or [{}]
    scores = [
        float((classifier.predict(classifier.train(*train, **settings), valid[0]) == valid[1]).mean())
        for settings in candidates
    ]
    best = int(np.argmax(scores))
    return candidates[best], scores[best]


def draw(rows: dict[str, tuple[float, float]], title: str):
    figure, ax = new_figure((7, 0.7 + 0.3 * len(rows)), grid="both")
    for i, (valid, test) in enumerate(rows.values()):
        ax.plot(100 * valid, i, "o", mfc="none", color=BLUE, label="validation" if i == 0 else None)
        ax.plot(100 * test, i, "o", color=VERMILION, label="test" if i == 0 else None)
    ax.set_yticks(range(len(rows)), rows)
    ax.invert_yaxis()
    ax.set_xlabel(f"accuracy on {title}, %")
    ax.legend(frameon=False, fontsize=8, loc="best")
    return figure


def study(
    *, dataset: str = "digits", data_dir: str | None = None, only: str = "", limit: int | None = None, seed: Seed = 0
) -> StudyResult:
    """Train, tune and test every classifier.

    Args:
      dataset: digits, mnist, fashion_mnist, cifar10.
      only: text that the classifier's name must contain; "" runs all.
      limit: maximum number of training examples; None uses all.
      seed: seed of the validation split.
    """
    classifiers = {name: classifier for name, classifier in CLASSIFIERS.items() if only in name}
    if not classifiers:
        raise ValueError(f"only={only!r}: matches no classifier; allowed: part of {', '.join(CLASSIFIERS)}")
    splits = load(dataset, data_dir, seed=seed)
    train, valid = arrays(splits.train if limit is None else splits.train.take(limit)), arrays(splits.valid)
    all_labeled = tuple(np.concatenate(pair) for pair in zip(train, valid, strict=True))
    numbers, rows = {}, {}
    for name, classifier in classifiers.items():
        start = time.perf_counter()
        settings, on_valid = choose(name, classifier, train, valid)
        model = classifier.train(*all_labeled, **settings)
        on_test = TestExamples(*arrays(splits.test)).evaluate(lambda new, c=classifier, m=model: c.predict(m, new))
        rows[name] = on_valid, on_test
        settings_text = "".join(f", {key} = {value:g}" for key, value in settings.items())
        seconds = time.perf_counter() - start
        numbers[name] = f"test {on_test:.2%}, validation {on_valid:.2%}{settings_text}, {seconds:.0f} s"
    best, worst = (f(rows, key=lambda name: rows[name][1]) for f in (max, min))
    verdict = f"{len(splits.test)} test examples of {dataset}, after {len(all_labeled[0])} to learn from: the best is "
    verdict += f"{best}, {rows[best][1]:.2%}" + (
        f", the worst {worst}, {rows[worst][1]:.2%}." if worst != best else "."
    )
    headline = Headline("test accuracy of the best", rows[best][1], dataset)
    return StudyResult(numbers, verdict, {"classifiers": draw(rows, dataset)}, headline=headline)


experiment = Study(__file__, __doc__, study, smoke={"limit": 200, "only": "n"})

if __name__ == "__main__":
    main(experiment)
