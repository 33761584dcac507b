"""Active learning: labels bought at the least margin teach more than as many at random; here below an SVM.

python -m experiments.transfer.active                            (margin +2.2 ± 0.6 points over random, 86.2 %)
python -m experiments.transfer.active --dataset=mnist --data_dir=D --pool=5000 --steps=600           (not run)

Each seed draws two labels of each digit, then buys twenty at a time up to 300; after each purchase a new perceptron is
trained from scratch on what is labeled. All strategies of a seed start with the same labels. Measured is the area under
the curve of test accuracy over labels. The claim holds where the area of `margin`, in the mean over the seeds, is not
below that of `random`; the differences are paired by seed.

Reference: Settles 2009; Sener & Savarese 2018, arXiv:1708.00489 (core-set).
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.main import main
from dlcore.report.figure import PALETTE, new_figure
from dlcore.setting import FlagError
from dlcore.transfer.active import STRATEGIES, area_under_curve, buy_in_rounds
from experiments.studies.small_runs import minimize


def examples(dataset: str, data_dir: str | None, pool: int) -> tuple[np.ndarray, ...]:
    """(images [N, D] in [0, 1], labels, test images, test labels); N is `pool` at most."""
    from dlcore.data.image_classification import load

    loaded = load(dataset, data_dir, seed=0)
    parts = []
    for source in (loaded.train, loaded.test):
        images = np.asarray(source.arrays["image"])
        images = images.reshape(len(images), -1).astype(np.float32) / (255 if images.dtype == np.uint8 else 1)
        parts += [images, np.asarray(source.arrays["label"], np.int32)]
    order = np.random.default_rng(0).permutation(len(parts[0]))[:pool]
    return parts[0][order], parts[1][order], *parts[2:]


def trainer(images, labels, test_images, test_labels, classes: int, hidden: int, steps: int, batch_size: int):
    """What `buy_in_rounds` trains."""
    first, head = nn.Dense(hidden), nn.Dense(classes)
    optimizer = optax.adam(2e-3)

    def features(params, x):
        return nn.relu(first.apply({"params": params[0]}, x))

    def logits(params, x):
        return head.apply({"params": params[1]}, features(params, x))

    def train(key, labeled):
        params = [
            layer.init(jax.random.fold_in(key, i), jnp.zeros((1, size)))["params"]
            for i, (layer, size) in enumerate(((first, images.shape[1]), (head, hidden)))
        ]
        odds = jnp.where(labeled, 0.0, -jnp.inf)

        def objective(params, k):
            rows = jax.random.categorical(jax.random.fold_in(key, k + 2), odds, shape=(batch_size,))
            return softmax_cross_entropy_loss(logits(params, images[rows]), labels[rows]).mean()

        params, _ = minimize(objective, params, optimizer, jnp.arange(steps))
        accuracy = (logits(params, test_images).argmax(-1) == test_labels).mean()
        return jax.nn.softmax(logits(params, images)), features(params, images), accuracy

    return train


def first_labels(labels: np.ndarray, per_class: int, seeds: int) -> np.ndarray:
    """[seeds, N] bool, as many of each class."""
    is_labeled = np.zeros((seeds, len(labels)), bool)
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        for c in np.unique(labels):
            is_labeled[seed, rng.permutation(np.flatnonzero(labels == c))[:per_class]] = True
    return is_labeled


def report(curves: dict[str, np.ndarray], counts: np.ndarray, dataset: str) -> StudyResult:
    """Judge {strategy: [seeds, R] accuracies} at the numbers of labels [R]."""
    areas = {name: 100 * area_under_curve(v) for name, v in curves.items()}
    numbers = {f"area, {name}": (v / 100).tolist() for name, v in areas.items()}
    numbers |= {f"accuracy, {name}": v.mean(0).round(4).tolist() for name, v in curves.items()}
    lines, holds, headline = [], None, None
    for name, area in areas.items():
        more = ""
        if name != "random" and "random" in areas:
            gain = area - areas["random"]
            error = f" ± {gain.std(ddof=1) / np.sqrt(len(gain)):.2f}" if len(gain) > 1 else ""
            more = f" ({gain.mean():+.2f}{error})"
            numbers[f"gain over random, {name}, points"] = gain.tolist()
        lines.append(f"{name} {area.mean():.2f} %{more}")
    if {"margin", "random"} <= areas.keys():
        gain = areas["margin"] - areas["random"]
        holds = bool(gain.mean() >= 0)
        headline = Headline("area under the curve gained by margin, points", gain, dataset)
    verdict = (
        f"Area under the curve from {counts[0]} to {counts[-1]} labels: {', '.join(lines)}; "
        "in brackets the difference from random, paired by seed, with its standard error where there are several seeds."
    )
    return StudyResult(numbers, verdict, {"accuracy": draw(curves, counts)}, holds, headline)


def draw(curves, counts):
    figure, ax = new_figure((5.5, 3.6), grid="both")
    for (name, v), color in zip(curves.items(), PALETTE, strict=False):
        ax.plot(counts, 100 * v.mean(0), "o-", ms=3, color=color, label=name)
    ax.set(xlabel="labels", ylabel="test accuracy, %")
    ax.legend(frameon=False)
    return figure


def study(
    *,
    dataset: str = "digits",
    data_dir: str | None = None,
    pool: PositiveInt = 1297,
    strategies: tuple[Literal["entropy", "margin", "least_confident", "core_set", "random"], ...] = STRATEGIES,
    num_seeds: PositiveInt = 5,
    first: PositiveInt = 2,
    count: PositiveInt = 20,
    rounds: PositiveInt = 14,
    hidden: PositiveInt = 64,
    steps: PositiveInt = 300,
    batch_size: PositiveInt = 32,
) -> StudyResult:
    """Compare strategies of buying labels.

    Args:
      dataset: digits (embedded), mnist or fashion_mnist.
      pool: training images whose labels can be bought.
      strategies: one or more of entropy, margin, least_confident, core_set and random.
      num_seeds: repetitions, each with its own first labels and networks, the same for all strategies.
      first: labels of each class to begin with.
      count: labels to buy in a round.
      rounds: purchases.
      hidden: units of the perceptron's hidden layer.
      steps: steps of training after each purchase, from scratch.
    """
    data = examples(dataset, data_dir, pool)
    smallest = int(np.unique(data[1], return_counts=True)[1].min())
    if first > smallest:
        raise FlagError(f"--first={first}: a class has {smallest} images in the pool; allowed: 1 to {smallest}")
    is_labeled = first_labels(data[1], first, num_seeds)
    if rounds * count > (without := len(data[1]) - int(is_labeled[0].sum())):
        raise FlagError(
            f"--count={count}: {rounds * count} labels in --rounds={rounds}; allowed: at most the {without} images "
            "without a label"
        )
    train = trainer(*map(jnp.asarray, data), int(data[1].max()) + 1, hidden, steps, batch_size)
    keys = jax.vmap(jax.random.key)(jnp.arange(num_seeds))
    curves = {}
    for strategy in strategies:
        run = functools.partial(buy_in_rounds, train, strategy, count=count, rounds=rounds)
        curves[strategy] = np.asarray(jax.jit(jax.vmap(run))(keys, jnp.asarray(is_labeled))[0])
    counts = is_labeled[0].sum() + count * np.arange(rounds + 1)
    return report(curves, counts, dataset)


SMOKE = {"strategies": ("margin", "random"), "num_seeds": 1, "rounds": 1, "hidden": 8, "steps": 2}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)
