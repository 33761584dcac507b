"""Dropout, weight decay and augmentation against over-fitting; more data against all; dropout with batch norm.

python -m experiments.studies.regularization

Three questions on the digits with a small perceptron, over several seeds (subset, weights and batches). (1) On few
examples, does each of dropout, weight decay and augmentation narrow the gap between test and training log loss? (2)
Does the gap shrink with the number of examples? (3) Does dropout still help with batch norm? The claim holds where the
answers to the first two are yes.

References: Srivastava et al. 2014, "Dropout", JMLR; Li et al. 2018, arXiv:1801.05134 (dropout with batch norm).

Measured over three seeds: all three narrow the gap, from 0.56 to 0.55, 0.45 and 0.29, and together to 0.22, with 91.1 %
test accuracy instead of 88.3 %; from 50 examples to all it shrinks from 1.01 to 0.25; dropout costs 0.3 points without
batch norm, 1.0 with it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.data.augment import random_affine
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, VERMILION, mean_and_range, new_figure, seed_dots
from experiments.studies.small_runs import SmallNet, log_loss_and_accuracy, shuffled_digits, train

ARMS = {
    "nothing": {},
    "dropout": {"dropout_rate": 0.5},
    "weight decay": {"weight_decay": 1.0},
    "augmentation": {"augment": True},
    "all three": {"dropout_rate": 0.2, "weight_decay": 0.3, "augment": True},
}
SIZES = (50, 100, 200, 400, 800, 1297)


def measure(keys, steps, data, *, counts, dropout_rate=0.0, weight_decay=0.0, augment=False, batch_norm=False):
    """Measure [seeds, counts, 4]: training and test log loss, training and test accuracy, by number of examples."""
    net = SmallNet(batch_norm=batch_norm)

    def one(key, images, labels, count):
        moved = random_affine(degrees=15, translate=0.125, scale=(0.85, 1.15), shear=10) if augment else None
        optimizer = optax.adamw(1e-3, weight_decay=weight_decay, mask=lambda p: jax.tree.map(lambda w: w.ndim > 1, p))
        variables, _ = train(
            key,
            net,
            optimizer,
            images,
            labels,
            steps,
            count=count,
            dropout_rate=dropout_rate,
            augment=moved,
            batch_size=32,
        )
        variables = jax.tree.map(lambda v: v[0], variables)

        def measure(x, y, weight=None):
            return log_loss_and_accuracy(jax.nn.log_softmax(net.apply(variables, x, False)), y, weight)

        train_measures = measure(images, labels, (jnp.arange(len(labels)) < count).astype(jnp.float32))
        test_measures = measure(data.test_images, data.test_labels)
        return jnp.stack([train_measures[0], test_measures[0], train_measures[1], test_measures[1]])

    def by_seed(key):
        order = jax.random.permutation(jax.random.fold_in(key, 7), len(data.labels))
        images, labels = jnp.asarray(data.images)[order], jnp.asarray(data.labels)[order]
        return jax.vmap(lambda count: one(key, images, labels, count))(jnp.asarray(counts))

    return np.asarray(jax.jit(jax.vmap(by_seed))(keys), np.float64)


def judge(arms: dict, curve: np.ndarray, table: dict) -> tuple[str, bool]:
    """Judge the measures [seeds, 4] by arm, [seeds, sizes, 4] by size, and [seeds, 4] by (batch norm, dropout)."""
    gaps = {name: float((results[:, 1] - results[:, 0]).mean()) for name, results in arms.items()}
    narrower = [name for name in gaps if name != "nothing" and gaps[name] < gaps["nothing"]]
    best = max(arms, key=lambda name: arms[name][:, 3].mean())
    by_size = (curve[..., 1] - curve[..., 0]).mean(0)
    shrinks = bool(by_size[-1] < by_size[0] and np.sum(np.diff(by_size) < 0) >= len(by_size) - 2)
    gain = {norm: 100 * float((table[norm, True][:, 3] - table[norm, False][:, 3]).mean()) for norm in (False, True)}
    verdict = (
        f"{len(narrower)} of {len(arms) - 1} narrow the gap of the log loss ({gaps['nothing']:.2f} without: "
        + ", ".join(f"{name} {gaps[name]:.2f}" for name in arms if name != "nothing")
        + f"); the best accuracy has {best} ({arms[best][:, 3].mean():.1%} against "
        f"{arms['nothing'][:, 3].mean():.1%}). "
        f"From {SIZES[0]} examples to all the gap {'shrinks' if shrinks else 'does NOT shrink'}, from {by_size[0]:.2f} "
        f"to {by_size[-1]:.2f}. Dropout changes the accuracy by {gain[False]:+.1f} points without batch norm and by "
        f"{gain[True]:+.1f} with it: with batch norm it {'helps less' if gain[True] < gain[False] else 'helps as much'}"
        f"{' and hurts' if gain[True] < 0 else ''}."
    )
    return verdict, len(narrower) == len(arms) - 1 and shrinks


def study(*, num_seeds: PositiveInt = 3, steps: PositiveInt = 1500, num_examples: PositiveInt = 150) -> StudyResult:
    """Measure regularizers on few examples, a learning curve, and dropout with and without batch norm.

    Args:
      steps: training steps of each run, of 32 examples.
      num_examples: training examples of the first and the third question.
    """
    data = shuffled_digits()
    keys = jax.random.split(jax.random.key(0), num_seeds)
    arms = {
        name: measure(keys, steps, data, counts=(num_examples,), **settings)[:, 0] for name, settings in ARMS.items()
    }
    curve = measure(keys, steps, data, counts=SIZES)
    table = {
        (norm, drop): arms["dropout" if drop else "nothing"]
        if not norm
        else measure(keys, steps, data, counts=(num_examples,), dropout_rate=0.5 * drop, batch_norm=True)[:, 0]
        for norm in (False, True)
        for drop in (False, True)
    }
    verdict, holds = judge(arms, curve, table)
    numbers = {}
    for name, results in arms.items():
        numbers[f"{name}: test accuracy"] = results[:, 3].tolist()
        numbers[f"{name}: gap of log loss"] = (results[:, 1] - results[:, 0]).tolist()
    numbers["gap by number of examples"] = (curve[..., 1] - curve[..., 0]).mean(0).tolist()
    numbers["test accuracy by number of examples"] = curve[..., 3].mean(0).tolist()
    for (norm, drop), results in table.items():
        numbers[f"accuracy, norm {norm}, dropout {drop}"] = results[:, 3].tolist()
    headline = Headline(
        "gap of log loss narrowed by all three",
        np.subtract(numbers["nothing: gap of log loss"], numbers["all three: gap of log loss"]),
        "digits",
    )
    return StudyResult(numbers, verdict, {"regularization": draw(arms, curve, table, num_examples)}, holds, headline)


def draw(arms, curve, table, num_examples):
    figure, (left, middle, right) = new_figure((10.5, 3.4), 1, 3, width_ratios=(1.25, 1, 0.9), grid="both")
    columns = ((0, "training", BLUE), (1, "test", VERMILION))
    for column, name, color in columns:
        groups = {arm: results[:, column] for arm, results in arms.items()}
        seed_dots(left, groups, color, label=name, horizontal=True)
    left.set_xlabel("log loss")
    left.set_title(f"{num_examples} examples: the gap", fontsize=10)
    left.legend(frameon=False)
    for column, name, color in columns:
        mean_and_range(middle, SIZES, curve[..., column], color, name, "o-")
    middle.set(xscale="log", xlabel="examples", ylabel="log loss")
    middle.set_xticks([50, 200, 800], ["50", "200", "800"])
    middle.minorticks_off()
    middle.set_title("more data", fontsize=10)
    for norm, color in ((False, BLUE), (True, VERMILION)):
        points = np.array([table[norm, drop][:, 3] for drop in (False, True)])
        right.plot([0, 1], 100 * points, color=color, alpha=0.3)
        right.plot([0, 1], 100 * points.mean(1), "-o", color=color, label="with batch norm" if norm else "without")
    right.set_xticks([0, 1], ["no dropout", "dropout"])
    right.set(xlim=(-0.2, 1.2), ylabel="test accuracy, %")
    right.set_title("dropout and batch norm", fontsize=10)
    right.legend(frameon=False)
    return figure


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 2, "steps": 4})

if __name__ == "__main__":
    main(experiment)
