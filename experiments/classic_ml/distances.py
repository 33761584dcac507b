"""Show the limits of pixel distances: frame dependence (L1), little contrast in many dimensions, blindness to content.

python -m experiments.classic_ml.distances

    rotation:  distances of digits before and after a random rotation; L2 must stay, L1 must not
    contrast:  (largest - smallest) / smallest distance from a point to uniform points, by dimension
    edits:     every test digit shifted, darkened and covered, all at the same L2 from the original: people still
               read it, but its nearest neighbor among the training digits is often wrong. Beside it, a photograph.

References: Beyer et al. 1999, "When is nearest neighbor meaningful?"; CS231n, "Image classification".

Seen: the rotation changed L2 by 7e-16 and L1 by 112 %; the contrast of L2 fell from 5040 to 0.058 between 1 and 4,096
dimensions; 1-NN of 495 digits went from 96.0 % to 61.2 % (shifted), 40.4 % (darkened) and 23.2 % (covered).
"""

import numpy as np

from dlcore.classic_ml import nearest_neighbor
from dlcore.classic_ml.pixel_distance import contrast, equal_edits
from dlcore.data.digits import digits
from dlcore.data.sample_images import sample_image
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, VERMILION, show_image


def rotation_change(order: int, rows: np.ndarray, seed: int) -> float:
    """The largest relative change of the distances between rows [N, D] under a random orthogonal matrix."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(rows.shape[1],) * 2))
    first, second = np.triu_indices(len(rows), 1)
    before, after = (np.linalg.norm(x[first] - x[second], ord=order, axis=1) for x in (rows, rows @ q))
    return float(np.abs(after / before - 1).max())


def contrasts(dimensions: list[int], points: int, queries: int, order: int) -> np.ndarray:
    """Mean contrast over the queries, by dimension."""
    rng = np.random.default_rng(0)
    return np.array(
        [np.mean([contrast(rng.random((points, d)), rng.random(d), order) for _ in range(queries)]) for d in dimensions]
    )


def draw(dimensions, by_order, digit, accuracy, photograph):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.9))
    ax = left.subplots()
    for (order, values), color in zip(by_order.items(), (VERMILION, BLUE), strict=True):
        ax.loglog(dimensions, values, "o-", color=color, label=f"L{order}")
    ax.set(xlabel="dimensions", ylabel="contrast of distances")
    ax.legend(frameon=False)
    ax.grid(alpha=0.3)
    captions = {name: f"\n1-NN right: {value:.1%}" for name, value in accuracy.items()}
    for row, pictures, below in zip(right.subplots(2, 4), (digit, photograph), (captions, {}), strict=True):
        for ax, (name, picture) in zip(row, pictures.items(), strict=True):
            title = f"{name}, L2 {np.linalg.norm(picture - pictures['original']):.2f}{below.get(name, '')}"
            show_image(ax, picture, title, cmap="gray", vmin=0, vmax=1)
    return figure


def study(
    *,
    points: PositiveInt = 1000,
    queries: PositiveInt = 20,
    max_dimensions: PositiveInt = 4096,
    num_edited: PositiveInt = 500,
) -> StudyResult:
    """Run three demonstrations of distances.

    Args:
      points: number of uniform points compared with each query.
      queries: number of queries to average over.
      max_dimensions: largest number of dimensions, a power of 4.
      num_edited: test digits to edit, at most 500.
    """
    train, test = (digits(split).arrays for split in ("train", "test"))
    rows = train["image"][:200].reshape(200, -1).astype(np.float64)
    change = {order: rotation_change(order, rows, 0) for order in (1, 2)}
    dimensions = [4**i for i in range(round(np.log(max_dimensions) / np.log(4)) + 1)]
    by_order = {order: contrasts(dimensions, points, queries, order) for order in (1, 2)}
    falls = all((np.diff(values) < 0).all() for values in by_order.values())
    images, labels = test["image"][:num_edited, :, :, 0].astype(np.float64), test["label"][:num_edited]
    moved = np.linalg.norm(images[:, :, [0, *range(7)]] - images, axis=(1, 2))
    near = moved <= np.linalg.norm(images, axis=(1, 2))  # else black is nearer than the shifted digit
    images, labels = images[near], labels[near]
    edits = [{"original": image} | equal_edits(image) for image in images]
    versions = {name: np.stack([edit[name] for edit in edits]) for name in edits[0]}
    away = {n: np.linalg.norm((v - images).reshape(len(images), -1), axis=1) for n, v in versions.items()}
    equal = all(np.abs(away[name] - away["shifted"]).max() <= 1e-6 for name in ("darkened", "covered"))
    model = nearest_neighbor.train(train["image"], train["label"])
    accuracy = {name: float((nearest_neighbor.predict(model, v) == labels).mean()) for name, v in versions.items()}
    photograph = sample_image("china", 96) / 255
    photograph = {"original": photograph} | equal_edits(photograph, shift=3)
    figure = draw(dimensions, by_order, edits[0], accuracy, photograph)
    numbers = {f"largest change of L{order} under a rotation": value for order, value in change.items()}
    numbers |= {f"contrast of L{order}": values.tolist() for order, values in by_order.items()}
    numbers |= {"digits edited": len(images), "mean L2 of the edits": float(away["shifted"].mean())}
    numbers |= {f"1-NN accuracy, {name}": value for name, value in accuracy.items()}
    verdict = (
        f"A rotation changed L2 by {change[2]:.0e} at most and L1 by up to {change[1]:.0%}. The contrast of L2 fell "
        f"from {by_order[2][0]:.3g} to {by_order[2][-1]:.3g} between 1 and {dimensions[-1]} dimensions"
        f"{'' if falls else ', NOT monotonically'}. With three edits {'equally' if equal else 'NOT equally'} far from "
        f"each digit, 1-NN went from {accuracy['original']:.1%} to {accuracy['shifted']:.1%} (shifted), "
        f"{accuracy['darkened']:.1%} (darkened) and {accuracy['covered']:.1%} (covered)."
    )
    holds = change[2] < 1e-10 < 1e-2 < change[1] and falls and equal
    headline = Headline("1-NN accuracy of covered digits", accuracy["covered"], "digits")
    return StudyResult(numbers, verdict, {"distances": figure}, holds, headline)


experiment = Study(
    __file__, __doc__, study, smoke={"points": 100, "queries": 10, "max_dimensions": 256, "num_edited": 50}
)

if __name__ == "__main__":
    main(experiment)
