"""Solve problems that one template per class cannot: by a second layer, or by features in which they are linear.

python -m experiments.classic_ml.hard_cases

Xor, a ring around a disc, and three modes in the plane; the parity of bits. A linear classifier, a network with one
hidden layer, and on the ring a linear classifier of radius and angle.

Reference: Minsky & Papert 1969, "Perceptrons".

Seen, linear and two layers: xor 49.5 and 100 %, annulus 39.4 and 100 %, three modes 55.6 and 100 %, parity of 6 bits
48.4 and 100 %; the annulus in polar coordinates, linear, 100 %. The best line of all would have 71, 68 and 65 %.
"""

import numpy as np

from dlcore.classic_ml import linear_training, mlp
from dlcore.classic_ml.hard_cases import PROBLEMS, annulus, linear_bound, parity, polar
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, VERMILION, new_figure

COLORS = (BLUE, VERMILION)


def accuracies(x, label, new, new_label, hidden: int, steps: int):
    """{method: (accuracy, predict)} on new points."""
    linear = linear_training.train(x, label, l2=0, steps=steps)
    layers = mlp.train(x, label, hidden=(hidden,), l2=0, learning_rate=0.1, steps=steps)
    predictions = {
        "linear": lambda x: linear_training.predict(linear, x),
        "two layers": lambda x: mlp.predict(layers, x),
    }
    return {name: (float((predict(new) == new_label).mean()), predict) for name, predict in predictions.items()}


def panel(ax, x, label, predict, title, xlabel="", ylabel=""):
    """Points over the regions of the answers."""
    low, high = x.min(0) - 0.2, x.max(0) + 0.2
    grid = np.meshgrid(*(np.linspace(a, b, 200) for a, b in zip(low, high, strict=True)))
    region = predict(np.stack([g.ravel() for g in grid], 1)).reshape(200, 200)
    ax.contourf(*grid, region, levels=[-0.5, 0.5, 1.5], colors=COLORS, alpha=0.18)
    for c in (0, 1):
        ax.plot(*x[label == c][:200].T, ".", ms=3, color=COLORS[c])
    ax.set_title(title, fontsize=9)
    ax.set(xlabel=xlabel, ylabel=ylabel)


def study(
    *, points: PositiveInt = 1000, hidden: PositiveInt = 32, steps: PositiveInt = 4000, bits: PositiveInt = 6
) -> StudyResult:
    """Train on each problem and measure accuracy on new points.

    Args:
      points: number of training points, and as many test points.
      hidden: units of the two-layer network.
      bits: number of bits of the parity, which is learned from all 2^bits cases.
    """
    figure, axes = new_figure((10, 5.6), 2, 4)
    numbers, holds = {}, True
    for column, (name, make) in enumerate(PROBLEMS.items()):
        (x, label), (new, new_label) = make(points, 0), make(points, 1)
        bound = numbers[f"{name}, the best line"] = linear_bound(new, new_label)
        for ax, (method, (accuracy, predict)) in zip(
            axes[:, column], accuracies(x, label, new, new_label, hidden, steps).items(), strict=True
        ):
            numbers[f"{name}, {method}"] = accuracy
            panel(ax, new, new_label, predict, f"{name}, {method}: {accuracy:.1%}")
        holds &= numbers[f"{name}, linear"] <= bound < 0.8 and numbers[f"{name}, two layers"] > 0.99
    (x, label), (new, new_label) = annulus(points, 0), annulus(points, 1)
    model = linear_training.train(polar(x), label, l2=0, learning_rate=1.0, steps=steps)

    def in_polar(x):
        return linear_training.predict(model, x)

    numbers["annulus, linear in polar coordinates"] = reached = float((in_polar(polar(new)) == new_label).mean())
    panel(axes[0, 3], polar(new), new_label, in_polar, f"polar, linear: {reached:.1%}", "radius", "angle")
    panel(axes[1, 3], new, new_label, lambda x: in_polar(polar(x)), "the same, seen in the plane")
    x, label = parity(bits)
    for method, (accuracy, _) in accuracies(x, label, x, label, 2 * hidden, steps).items():
        numbers[f"parity of {bits} bits, {method}"] = accuracy
    holds &= reached == 1 and numbers[f"parity of {bits} bits, linear"] < 0.7
    holds &= numbers[f"parity of {bits} bits, two layers"] > 0.99
    summary = "; ".join(
        f"{name}: linear {numbers[f'{name}, linear']:.1%}, two layers {numbers[f'{name}, two layers']:.1%}"
        for name in (*PROBLEMS, f"parity of {bits} bits")
    )
    verdict = f"{summary}. The annulus in polar coordinates: linear {reached:.1%}."
    headline = Headline("accuracy of two layers, xor", numbers["xor, two layers"], "plane")
    return StudyResult(numbers, verdict, {"regions": figure}, bool(holds), headline)


experiment = Study(__file__, __doc__, study, smoke={"points": 200, "steps": 300, "bits": 3})

if __name__ == "__main__":
    main(experiment)
