"""One network tells a digit's class and how it was turned, each within two points of a network of its own.

python -m experiments.transfer.multi_task       (class 91.1 %, alone 91.9 %; turn 63.8 %, alone 64.2 %)

Two tasks with data of their own: upright digits with their class, and turned digits, a quarter as many, with the
quarters that they were turned by. A batch has as many of both. Beside the network with two heads learn its single
tasks: the same trunk, the same batches, the other task's weight 0. 0, 1 and 8 look the same upside down, and 6 is a
turned 9, so that not every turn can be told. The claim holds where the mean accuracy over the seeds is at most two
points below the single task's, for both.

Reference: Caruana 1997, "Multitask learning".
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.data.digits import digits
from dlcore.experiment import Headline, NonNegativeFloat, PositiveInt, Range, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import PALETTE, new_figure
from dlcore.transfer.multi_task import HeadsNet, learner, rotate_quarter_turns

TASKS = ("class", "turn")
WEIGHTS = {"both": (1.0, 1.0), "class alone": (1.0, 0.0), "turn alone": (0.0, 1.0)}
MOST_LOST = 2.0
"""Points."""


class Trunk(nn.Module):
    """Two convolutions and a hidden layer: [B, 8, 8, 1] -> [B, width]."""

    width: int

    @nn.compact
    def __call__(self, x):
        for i, stride in enumerate((1, 2)):
            x = nn.relu(nn.Conv(self.width // 4, (3, 3), stride, name=f"conv{i}")(x))
        return nn.relu(nn.Dense(self.width, name="features")(x.reshape(len(x), -1)))


def task_data(split: str, fraction: float = 1.0) -> dict[str, tuple[jax.Array, jax.Array]]:
    """task -> (images, labels); turned are other images than those with a class where `fraction` is below 1."""
    arrays = digits(split).arrays
    images, labels = jnp.asarray(arrays["image"]), jnp.asarray(arrays["label"])
    count = round(fraction * len(images))
    first = len(images) - count
    if fraction == 1:
        return {"class": (images, labels), "turn": rotate_quarter_turns(images, jnp.arange(count))}
    return {"class": (images[:first], labels[:first]), "turn": rotate_quarter_turns(images[first:], jnp.arange(count))}


def accuracies(name: str, seeds: int, width: int, steps: int, batch_size: int, rate: float) -> np.ndarray:
    """Test accuracy of both tasks, [seeds, 2]."""
    train, test = task_data("train", 0.2), task_data("test")
    one = learner(
        model=HeadsNet(Trunk(width), (("class", 10), ("turn", 4))),
        optimizer=optax.adam(optax.cosine_decay_schedule(rate, steps)),
        weights=dict(zip(TASKS, WEIGHTS[name], strict=True)),
    )

    def batch_of(key):
        batch = {}
        for i, (task, (images, labels)) in enumerate(train.items()):
            rows = jax.random.randint(jax.random.fold_in(key, i), (batch_size,), 0, len(labels))
            batch[task] = {"image": images[rows], "label": labels[rows], "index": rows}
        return batch

    @jax.jit
    def run(key):
        state = one.init(key, batch_of(key))
        state = jax.lax.fori_loop(
            0, steps, lambda k, s: one.update(s, batch_of(jax.random.fold_in(key, k + 1)))[0], state
        )
        whole = {task: {"image": x, "label": y, "index": jnp.arange(len(y))} for task, (x, y) in test.items()}
        metrics = one.evaluate(state, whole)
        return jnp.stack([metrics[f"accuracy/{task}"].total / metrics[f"accuracy/{task}"].count for task in TASKS])

    return np.stack([run(jax.random.key(seed)) for seed in range(seeds)])


def report(results: dict[str, np.ndarray]) -> StudyResult:
    """Judge {name: [seeds, 2] accuracies}."""
    both, single = results["both"], np.stack([results[f"{task} alone"][:, i] for i, task in enumerate(TASKS)], 1)
    accuracy_loss = 100 * (single - both).mean(0)
    text = "; ".join(
        f"{task}: {100 * both[:, i].mean():.1f} % with both heads, {100 * single[:, i].mean():.1f} % alone "
        f"({-accuracy_loss[i]:+.1f})"
        for i, task in enumerate(TASKS)
    )
    numbers = {f"{task}, both heads": both[:, i].tolist() for i, task in enumerate(TASKS)}
    numbers |= {f"{task}, alone": single[:, i].tolist() for i, task in enumerate(TASKS)}
    headline = Headline("points lost to a single task, the worse of both", (100 * (single - both)).max(1), "digits")
    return StudyResult(
        numbers,
        f"Test accuracy. {text}. Chance: 10 and 25 %.",
        {"accuracy": draw(both, single)},
        bool((accuracy_loss <= MOST_LOST).all()),
        headline,
    )


def draw(both, single):
    figure, ax = new_figure((4.5, 3.2))
    for k, (values, name) in enumerate(((both, "both heads"), (single, "alone"))):
        ax.bar(np.arange(2) + 0.4 * k - 0.2, 100 * values.mean(0), 0.38, color=PALETTE[k], label=name)
    ax.set_xticks(range(2), TASKS)
    ax.set(ylabel="test accuracy, %")
    ax.legend(frameon=False)
    return figure


def study(
    *,
    num_seeds: PositiveInt = 3,
    width: Annotated[int, Range(4)] = 64,
    steps: PositiveInt = 600,
    batch_size: PositiveInt = 32,
    learning_rate: NonNegativeFloat = 2e-3,
) -> StudyResult:
    """Compare a network of two tasks with those of one.

    Args:
      width: units of the shared features.
      batch_size: images of each task in a step.
    """
    sizes = (num_seeds, width, steps, batch_size, learning_rate)
    return report({name: accuracies(name, *sizes) for name in WEIGHTS})


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "width": 8, "steps": 2})

if __name__ == "__main__":
    main(experiment)
