"""Three views of a linear classifier on digits: templates, hyperplanes, and one product of matrices; then two layers.

python -m experiments.classic_ml.viewpoints

    visual:     each row of W is a picture; the template of a class should match the mean image of the class best
    geometric:  each class has a half-space; drawn for three digits in the plane of two principal directions
    algebraic:  W x + b is one product of [W b] and [x 1], and a whole set of images another
    random:     the best of many random W, beside descent
    two layers: the rows of W_1 are templates too, more than one a class; and the graph of a 3, 4, 4, 1 network

Reference: CS231n, "Linear classification".

Seen: all ten class means score highest on their own template; on the test digits the best of 1,000 random W has 16.0 %,
descent 91.4 %, two layers 93.0 %.
"""

import numpy as np

from dlcore.classic_ml import linear, linear_training, mlp
from dlcore.data.digits import digits
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, GREEN, VERMILION, show_image


def pictures(figure, templates, titles, columns):
    """[K, 64] as images, red for positive weights."""
    axes = figure.subplots(len(templates) // columns, columns).ravel()
    for ax, template, title in zip(axes, templates, titles, strict=True):
        scale = np.abs(template).max()
        show_image(ax, template.reshape(8, 8), title, cmap="RdBu_r", vmin=-scale, vmax=scale)


def boundary(ax, x, label, steps):
    """The regions of three digits in the plane of their two largest principal directions."""
    in_classes = np.isin(label, (0, 1, 4))
    x, label = x[in_classes], label[in_classes]
    plane = (x - x.mean(0)) @ np.linalg.svd(x - x.mean(0), full_matrices=False)[2][:2].T
    model = linear_training.train(plane, label, steps=steps)
    low, high = plane.min(0) - 0.2, plane.max(0) + 0.2
    grid = np.meshgrid(*(np.linspace(a, b, 250) for a, b in zip(low, high, strict=True)))
    region = linear_training.predict(model, np.stack([g.ravel() for g in grid], 1)).reshape(grid[0].shape)
    colors = {0: BLUE, 1: VERMILION, 4: GREEN}
    ax.contourf(*grid, region, levels=[-0.5, 0.5, 2, 5], colors=list(colors.values()), alpha=0.18)
    for digit, color in colors.items():
        ax.plot(*plane[label == digit].T, ".", ms=3, color=color, label=str(digit))
    ax.legend(frameon=False, fontsize=8)
    ax.set(xticks=[], yticks=[])
    ax.set_title("half-spaces of three digits in the plane", fontsize=10)
    return float((linear_training.predict(model, plane) == label).mean())


def graph(ax, sizes):
    """The neurons of a network and the weights between them."""
    positions = {(layer, i): (layer, (n - 1) / 2 - i) for layer, n in enumerate(sizes) for i in range(n)}
    for a, b in mlp.edges(sizes):
        ax.plot(*zip(positions[a], positions[b], strict=True), color="0.7", lw=0.8, zorder=1)
    ax.scatter(*zip(*positions.values(), strict=True), s=110, c="white", edgecolors=BLUE, zorder=2)
    counts = mlp.count(sizes)
    ax.set_title(
        f"{counts.neurons} neurons, {counts.weights} weights,\n{counts.biases} biases: {counts.parameters} to learn",
        fontsize=10,
    )
    ax.set_axis_off()


def study(*, steps: PositiveInt = 2000, tries: PositiveInt = 1000, hidden: PositiveInt = 20) -> StudyResult:
    """Train linear and two-layer classifiers and draw their templates, regions and graph.

    Args:
      tries: number of random W.
      hidden: units of the two-layer network, a multiple of 10.
    """
    from matplotlib.figure import Figure

    if hidden < 10 or hidden % 10:
        raise ValueError(f"hidden={hidden}: not a multiple of 10; allowed: 10, 20, ...")
    train, test = (digits(split).arrays for split in ("train", "test"))
    x, label, new, new_label = (
        train["image"].reshape(-1, 64),
        train["label"],
        test["image"].reshape(-1, 64),
        test["label"],
    )
    # Weights that no class needs shrink, so that templates show strokes and not the noise of the minibatches.
    model = linear_training.train(x, label, l2=1e-3, steps=steps)
    w = model.parameters
    means = np.stack([x[label == c].mean(0) for c in range(10)])
    matched = linear.scores(w, means).argmax(1)
    folded = np.asarray(linear.append_one(new) @ linear.fold_bias(w).T)
    gap = float(np.abs(folded - linear.scores(w, new)).max())
    random, _ = linear_training.random_search(x, label, num_classes=10, tries=tries)
    layers = mlp.train(x, label, hidden=(hidden,), l2=1e-3, steps=steps)
    accuracy = {
        "best of random W": float((np.asarray(linear.scores(random, new)).argmax(1) == new_label).mean()),
        "linear": float((linear_training.predict(model, new) == new_label).mean()),
        "two layers": float((mlp.predict(layers, new) == new_label).mean()),
    }
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.15))
    upper = top.subfigures(1, 2, width_ratios=(1.6, 1))
    upper[0].suptitle("templates: rows of W", fontsize=10)
    pictures(upper[0], w.weights, [str(c) for c in range(10)], 5)
    plane = boundary(upper[1].subplots(), x, label, steps)
    lower = bottom.subfigures(1, 2, width_ratios=(1.6, 1))
    lower[0].suptitle("templates of two layers: rows of W_1, and the class each helps most", fontsize=10)
    first, second = layers.layers[0].weights, layers.layers[1].weights
    pictures(lower[0], first, [str(c) for c in second.argmax(0)], hidden // 2)
    graph(lower[1].subplots(), (3, 4, 4, 1))
    numbers = {f"test accuracy, {name}": value for name, value in accuracy.items()}
    numbers |= {"class means matched": int((matched == np.arange(10)).sum()), "W x + b against [W b] [x 1]": gap}
    numbers |= {"training accuracy of three digits in the plane": plane}
    verdict = (
        f"{numbers['class means matched']} of 10 class means score highest on their own template; [W b] [x 1] differs "
        f"from W x + b by {gap:.0e}. On test digits the best of {tries} random W has "
        f"{accuracy['best of random W']:.1%}, descent {accuracy['linear']:.1%}, two layers "
        f"{accuracy['two layers']:.1%}."
    )
    ordered = accuracy["best of random W"] < accuracy["linear"] < accuracy["two layers"]
    headline = Headline("test accuracy, two layers", accuracy["two layers"], "digits")
    figures = {"viewpoints": figure}
    return StudyResult(numbers, verdict, figures, bool((matched == np.arange(10)).all() and ordered), headline)


experiment = Study(__file__, __doc__, study, smoke={"steps": 200, "tries": 50})

if __name__ == "__main__":
    main(experiment)
