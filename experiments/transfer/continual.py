"""Continual learning of digits: replay keeps what naive training forgets, EWC some; here below one Gaussian a class.

python -m experiments.transfer.continual                      (a minute; naive, replay, EWC and joint below)
python -m experiments.transfer.continual --dataset=mnist --data_dir=D --hidden=400,400 --steps=2000 \\
    --batch_size=128 --buffer=200 --num_seeds=3                   (33 minutes of one core; below)

Five tasks: 0 or 1, 2 or 3, and so on. The scenario says what is known in use: `task` the pair, `domain` neither pair
nor asked for (even or odd), `class` nothing. Elastic weight consolidation cannot help in the scenario `class` (none
19.9 %, EWC 20.0 % in the literature), and is not expected to; with the task known there is little to forget on 8x8
digits. The claims: in the scenario `class` replay ends 20 points above naive training, and in `domain` EWC ends above
it. That EWC forgets less than half as much was claimed first and is false: 15.7 points of 21.5, at the best of the
strengths 1e3 to 1e8 on these very tasks (the Fisher information of a network that is sure of all images is small).

Measured on MNIST, accuracy in % after the five tasks, three seeds, beside van de Ven & Tolias' (task, domain, class):

    naive     97.8  59.3  19.9      theirs 87.2  59.2  19.9
    EWC       99.4  61.1  20.0             98.6  64.0  20.0
    replay    99.6  96.0  92.9      200 images of each class in memory
    joint     99.8  98.8  97.8             97.9 to 99.7

With the task known our naive training forgets less than theirs, 2.5 points; the other scenarios agree.

Reference: van de Ven & Tolias 2019, arXiv:1904.07734: Split MNIST, MLP 400-400, 2,000 steps a task.
"""

from typing import Literal

import numpy as np
from flax import linen as nn

from dlcore.experiment import Headline, NonNegativeFloat, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import PALETTE, new_figure
from dlcore.run.progress import say
from dlcore.setting import FlagError
from dlcore.transfer.continual import SCENARIOS, STRATEGIES, Recipe, TaskData, forgetting, learn_in_turn

CLASSES_PER_TASK = 2


def task_data(dataset: str, data_dir: str | None) -> tuple[TaskData, TaskData]:
    """Training and test examples, images in [0, 1]."""
    from dlcore.data.image_classification import load

    loaded = load(dataset, data_dir, seed=0)
    parts = []
    for source in (loaded.train, loaded.test):
        images = np.asarray(source.arrays["image"])
        scale = 255 if images.dtype == np.uint8 else 1
        parts.append(TaskData(images.astype(np.float32) / scale, np.asarray(source.arrays["label"], np.int32)))
    return tuple(parts)


def report(results: dict[tuple[str, str], np.ndarray], dataset: str, kind: str) -> StudyResult:
    """Judge {(scenario, strategy): [seeds, T, T] accuracies}."""
    final = {key: 100 * v[:, -1].mean(1) for key, v in results.items()}
    forgotten = {key: 100 * np.mean([forgetting(one) for one in v]) for key, v in results.items()}
    lines, numbers = [], {}
    for scenario in dict.fromkeys(scenario for scenario, _ in results):
        rows = {strategy: key for key in results for strategy in key[1:] if key[0] == scenario}
        lines.append(
            f"{scenario}: "
            + ", ".join(f"{name} {final[key].mean():.1f} % (forgot {forgotten[key]:.1f})" for name, key in rows.items())
        )
    for (scenario, strategy), v in results.items():
        numbers[f"{scenario}, {strategy}: accuracy"] = (final[scenario, strategy] / 100).tolist()
        numbers[f"{scenario}, {strategy}: forgetting"] = float(forgotten[scenario, strategy] / 100)
        numbers[f"{scenario}, {strategy}: by task"] = v.mean(0).round(4).tolist()
    claims = []
    if {("class", "naive"), ("class", "replay")} <= results.keys():
        claims.append(final["class", "replay"].mean() > final["class", "naive"].mean() + 20)
    if {("domain", "naive"), ("domain", "ewc")} <= results.keys():
        claims.append(final["domain", "ewc"].mean() > final["domain", "naive"].mean())
    key = next(iter(results)) if ("class", "replay") not in results else ("class", "replay")
    headline = Headline(f"accuracy, {key[0]}-incremental, {key[1]}", final[key] / 100, dataset)
    return StudyResult(
        numbers,
        f"Mean accuracy at the end. {'; '.join(lines)}. Chance: 50 % (task, domain), 10 % (class). "
        f"EWC by the {kind} Fisher information.",
        {"by task": draw(results)},
        all(claims) if claims else None,
        headline,
    )


def draw(results):
    """Mean accuracy over the tasks so far, after each task."""
    scenarios = list(dict.fromkeys(scenario for scenario, _ in results))
    figure, axes = new_figure((3.2 * len(scenarios), 3.0), columns=len(scenarios))
    for scenario, ax in zip(scenarios, np.atleast_1d(axes).ravel(), strict=True):
        for (of, strategy), v in results.items():
            if of == scenario:
                curve = [100 * v[:, i, : i + 1].mean() for i in range(v.shape[1])]
                color = PALETTE[STRATEGIES.index(strategy)]
                ax.plot(range(1, len(curve) + 1), curve, "o-", color=color, label=strategy)
        ax.set(title=scenario, xlabel="tasks learned", ylim=(0, 102))
        ax.grid(alpha=0.3)
    np.atleast_1d(axes).ravel()[0].set_ylabel("accuracy on them, %")
    np.atleast_1d(axes).ravel()[0].legend(frameon=False)
    return figure


def study(
    *,
    dataset: str = "digits",
    data_dir: str | None = None,
    scenarios: tuple[Literal["task", "domain", "class"], ...] = SCENARIOS,
    strategies: tuple[Literal["naive", "replay", "ewc", "joint"], ...] = STRATEGIES,
    num_seeds: PositiveInt = 3,
    hidden: tuple[PositiveInt, ...] = (100, 100),
    steps: PositiveInt = 500,
    batch_size: PositiveInt = 64,
    learning_rate: NonNegativeFloat = 1e-3,
    buffer: PositiveInt = 20,
    strength: NonNegativeFloat = 1e7,
    fisher: Literal["model", "empirical"] = "model",
    fisher_size: PositiveInt = 5000,
) -> StudyResult:
    """Compare strategies against forgetting in three scenarios.

    Args:
      dataset: digits (embedded), mnist or fashion_mnist.
      scenarios: one or more of task, domain and class.
      strategies: one or more of naive, replay, ewc and joint.
      hidden: units of the perceptron's hidden layers.
      steps: steps of each task.
      buffer: stored images of each class, for replay.
      strength: strength of EWC.
      fisher: labels of EWC's Fisher information: drawn from the model, or the true ones.
      fisher_size: images that it is averaged over.
    """
    from dlcore.models import create_model

    train, test = task_data(dataset, data_dir)
    recipe = Recipe(steps, batch_size, learning_rate, buffer, strength, fisher, fisher_size)
    classes, results = int(train.labels.max()) + 1, {}
    smallest = int(np.bincount(train.labels).min())
    if "replay" in strategies and buffer > smallest:
        raise FlagError(f"--buffer={buffer}: a class has {smallest} training images; allowed: 1 to {smallest}")
    for scenario in scenarios:
        outputs = CLASSES_PER_TASK if scenario == "domain" else classes
        net = create_model("mlp", num_classes=outputs, hidden=hidden, head_init=nn.initializers.lecun_normal())
        for strategy in strategies:
            results[scenario, strategy] = learn_in_turn(
                net, train, test, scenario=scenario, strategy=strategy, seeds=num_seeds, recipe=recipe
            )
            say(f"{scenario}, {strategy}: {100 * results[scenario, strategy][:, -1].mean():.1f}%")
    return report(results, dataset, fisher)


SMOKE = {
    "scenarios": ("class",),
    "strategies": ("naive", "replay", "ewc"),
    "num_seeds": 1,
    "hidden": (8,),
    "steps": 2,
    "fisher_size": 20,
}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)
