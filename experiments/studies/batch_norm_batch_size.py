"""How small may a batch be before batch norm fails?

python -m experiments.studies.batch_norm_batch_size
python -m experiments.studies.batch_norm_batch_size --batch_sizes=2,4,16,128 --epochs=4

Perceptrons learn the digits for as many epochs at every batch size, each at the best learning rate of a ladder that
grows with the batch (chosen by the training loss). Group norm, which does not depend on the batch, is the control: it
separates what a small batch costs any net from what it costs batch norm. With two examples each unit sees +1 and -1
whatever the examples are: only which of them is larger is left.

Reference: Wu & He 2018, arXiv:1803.08494 (group norm).

Measured by the second command in 28 s of one core: 34.7 % test accuracy with batches of 2, 92.1 % with 128.
"""

import numpy as np

from dlcore.experiment import Headline, NonNegativeFloat, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, GREEN, mean_and_range, new_figure
from experiments.studies.batch_norm import Net, data, starts, train_all

COLORS = {"batch": BLUE, "group": GREEN}


def study(
    *,
    num_seeds: PositiveInt = 3,
    epochs: PositiveInt = 6,
    batch_sizes: tuple[PositiveInt, ...] = (2, 4, 8, 16, 32, 64, 128),
    depth: PositiveInt = 3,
    hidden: PositiveInt = 32,
    learning_rates: tuple[NonNegativeFloat, ...] = (0.05, 0.2, 0.8),
) -> StudyResult:
    """Measure test accuracy by batch size, with batch norm and with group norm.

    Args:
      epochs: passes over the training digits of each run.
      batch_sizes: examples a step, rising.
      learning_rates: ladder for the largest batch; a batch of 1/n its size takes the learning rate over sqrt(n).
    """
    splits, accuracy = data(), {}
    for norm in COLORS:
        net = Net(norm, True, hidden, depth)
        variables = starts(net, ["Kaiming"], num_seeds)
        accuracy[norm] = np.zeros((num_seeds, len(batch_sizes)))
        for column, size in enumerate(batch_sizes):
            ladder = np.asarray(learning_rates) * np.sqrt(size / max(batch_sizes))
            steps = max(1, round(epochs * len(splits["train"][0]) / size))
            runs = train_all(net, variables, ladder, splits["train"], splits["test"], steps, size)
            best = int(np.argmin(np.asarray(runs["loss"])[0].mean(0)))
            accuracy[norm][:, column] = np.asarray(runs["accuracy"])[0, :, best]
    return report(batch_sizes, accuracy)


def report(batch_sizes: tuple[int, ...], accuracy: dict) -> StudyResult:
    """Judge `accuracy`: norm -> [S, batch sizes]."""
    accuracy_loss = {norm: values[:, -1] - values[:, 0] for norm, values in accuracy.items()}
    mean = {norm: values.mean(0) for norm, values in accuracy.items()}
    fails = bool((accuracy_loss["batch"] > 0.02).all() and (accuracy_loss["batch"] > accuracy_loss["group"]).all())
    within = [
        size for size, value in zip(batch_sizes, mean["batch"], strict=True) if value > mean["batch"].max() - 0.01
    ]
    verdict = (
        f"From batches of {batch_sizes[-1]} to batches of {batch_sizes[0]} the test accuracy falls from "
        f"{mean['batch'][-1]:.1%} to {mean['batch'][0]:.1%} with batch norm, and from {mean['group'][-1]:.1%} to "
        f"{mean['group'][0]:.1%} with group norm: batch norm {'fails' if fails else 'does NOT fail'} on every seed at "
        f"the smallest. It is within a point of its best from {within[0]} on."
    )
    numbers = {"batch sizes": list(batch_sizes)}
    for norm, values in accuracy.items():
        numbers[f"test accuracy, {norm} norm"] = values.mean(0).tolist()
        numbers[f"accuracy lost at the smallest, {norm} norm"] = accuracy_loss[norm].tolist()
    headline = Headline("test accuracy lost at the smallest batch", accuracy_loss["batch"], "digits")
    return StudyResult(numbers, verdict, {"batch_size": draw(batch_sizes, accuracy)}, fails, headline)


def draw(batch_sizes: tuple[int, ...], accuracy: dict):
    """Draw accuracy by batch size: the mean of the seeds and their range."""
    figure, axes = new_figure((5, 3.2), grid="both")
    for norm, values in accuracy.items():
        mean_and_range(axes, batch_sizes, 100 * values, COLORS[norm], f"{norm} norm", "o-")
    axes.set_xscale("log", base=2)
    axes.set(xlabel="batch size", ylabel="test accuracy, %")
    axes.legend(frameon=False)
    return figure


SMOKE = {"num_seeds": 1, "epochs": 1, "batch_sizes": (2, 64), "depth": 1, "hidden": 16, "learning_rates": (0.2,)}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)
