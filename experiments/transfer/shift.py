"""Weights undo a shift of the inputs, and priors that a classifier's answers betray undo a shift of the labels.

python -m experiments.transfer.shift

Covariate shift: x is normal about 0 in the source and about `--shift` in the target, and y = 1 + 2 x + noise in both.
The source's mean of y is wrong for the target by 2 shift; weighted by the density ratio it is right. The same weights
fit a straight line to a curve, y = x², where the target lies. Label shift: classes are normal in ten dimensions, alike
in the source and by the ratio `--prior_ratio` from the most frequent to the rarest in the target. Gaussian naive Bayes
learns from the source; BBSE and EM find the target's priors from its answers, and its answers are corrected by them.

The claim holds where in each sample the weighted mean lies within two standard errors of the truth and the unweighted
one does not, and on average both methods recover the priors to 0.02 in L1 and each correction raises accuracy.

Seen: the mean of 3 is 1.00 unweighted and 3.00 weighted, in no sample more than 1.1 standard errors off, though 5,000
points are then worth 1,873. Priors: 0.015 (BBSE) and 0.011 (EM), where the answers themselves are off by 0.061;
accuracy 91.7 becomes 93.1 % by both.

References: Lipton, Wang & Smola 2018, arXiv:1802.03916 (BBSE); Saerens, Latinne & Decaestecker 2002 (EM).
"""

import numpy as np

from dlcore.classic_ml import naive_bayes
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, GRAY, GREEN, ORANGE, VERMILION, new_figure
from dlcore.transfer.shift import (
    black_box_priors,
    density_ratio,
    effective_sample_size,
    em_priors,
    reweigh,
    weighted_mean,
)


def fit_line(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """[slope, intercept] of weighted least squares."""
    return np.polyfit(x, y, 1, w=None if weights is None else np.sqrt(weights))


def covariate_shift(points: int, shift: float, seed: int) -> tuple[dict[str, float], dict]:
    """(numbers, what the figure shows)."""
    rng = np.random.default_rng(seed)
    source, target = rng.normal(0, 1, points), rng.normal(shift, 1, points)
    y = 1 + 2 * source + rng.normal(0, 0.5, points)
    weights = density_ratio(source[:, None], target[:, None])
    plain, weighted = weighted_mean(y), weighted_mean(y, weights)
    curve = source**2 + rng.normal(0, 0.2, points)
    lines = {"unweighted": fit_line(source, curve), "weighted": fit_line(source, curve, weights)}
    numbers = {
        "target mean": 1 + 2 * shift,
        "unweighted mean": plain.value,
        "standard error, unweighted": plain.standard_error,
        "weighted mean": weighted.value,
        "standard error, weighted": weighted.standard_error,
        "effective sample size": effective_sample_size(weights),
        "largest weight": float(weights.max()),
    }
    for name, line in lines.items():
        numbers[f"target error of the line, {name}"] = float(np.square(np.polyval(line, target) - target**2).mean())
    return numbers, {"x": source, "y": curve, "target": target, "weights": weights, "lines": lines}


def label_shift(points: int, classes: int, prior_ratio: float, seed: int) -> tuple[dict, dict]:
    """(numbers, {name: priors})."""
    rng = np.random.default_rng(seed)
    means = rng.normal(0, 1, (classes, 10))

    def draw(priors):
        label = rng.choice(classes, points, p=priors)
        return means[label] + rng.normal(0, 1, (points, 10)), label

    even, uneven = np.full(classes, 1 / classes), np.geomspace(prior_ratio, 1, classes)
    train, held_out, target = draw(even), draw(even), draw(uneven / uneven.sum())
    model = naive_bayes.train(*train)
    probabilities = np.exp(naive_bayes.predict_log_probability(model, target[0]))
    predictions, train_prior = probabilities.argmax(1), np.bincount(train[1], minlength=classes) / points
    scores = {
        "BBSE": black_box_priors(naive_bayes.predict(model, held_out[0]), held_out[1], predictions, classes),
        "EM": em_priors(probabilities, train_prior),
    }
    true_prior = np.bincount(target[1], minlength=classes) / points
    priors = {
        "target": true_prior,
        "source": train_prior,
        "answers": np.bincount(predictions, minlength=classes) / points,
    }
    numbers = {"condition number": scores["BBSE"].condition, "accuracy, uncorrected": (predictions == target[1]).mean()}
    for name, estimate in scores.items():
        priors[name] = estimate.priors
        corrected = reweigh(probabilities, train_prior, estimate.priors).argmax(1)
        numbers[f"accuracy, {name}"] = (corrected == target[1]).mean()
    numbers |= {f"L1 error of the priors, {name}": np.abs(p - true_prior).sum() for name, p in priors.items()}
    del numbers["L1 error of the priors, target"]
    return {name: float(value) for name, value in numbers.items()}, priors


def draw(panels: dict, priors: dict[str, np.ndarray]):
    """Lines where source and target lie, and priors as bars."""
    figure, (left, right) = new_figure((11, 3.8), 1, 2)
    left.scatter(
        panels["x"], panels["y"], s=4 * panels["weights"] + 1, color=BLUE, alpha=0.35, label="source, by weight"
    )
    left.plot(panels["target"], np.full(len(panels["target"]), -0.7), "|", color=GREEN, alpha=0.2, label="target")
    grid = np.array([panels["x"].min(), max(panels["x"].max(), panels["target"].max())])
    for (name, line), color in zip(panels["lines"].items(), (GRAY, VERMILION), strict=True):
        left.plot(grid, np.polyval(line, grid), color=color, lw=2, label=f"line, {name}")
    left.set(xlabel="x", ylabel="y", ylim=(-1.2, 10))
    left.legend(frameon=False, fontsize=8, loc="upper left")
    colors = {"target": GREEN, "answers": GRAY, "BBSE": BLUE, "EM": ORANGE}
    for k, (name, color) in enumerate(colors.items()):
        right.bar(np.arange(len(priors[name])) + 0.2 * (k - 1.5), priors[name], 0.18, color=color, label=name)
    right.set(xlabel="class", ylabel="share of the target")
    right.set_xticks(range(len(priors["target"])))
    right.legend(frameon=False, fontsize=8)
    return figure


def report(inputs: dict[str, list], labels: dict[str, list], figures: dict | None = None) -> StudyResult:
    """Judge {name: [seeds]} of both."""
    target_mean, gaps = inputs["target mean"][0], {}
    for name in ("unweighted", "weighted"):
        gaps[name] = np.abs(np.subtract(inputs[f"{name} mean"], target_mean)) / inputs[f"standard error, {name}"]
    mean = {name: float(np.mean(values)) for name, values in (inputs | labels).items()}
    errors = {name: mean[f"L1 error of the priors, {name}"] for name in ("BBSE", "EM", "answers")}
    accuracy = {name: mean[f"accuracy, {name}"] for name in ("uncorrected", "BBSE", "EM")}
    holds = gaps["weighted"].max() <= 2 < gaps["unweighted"].min() and max(errors["BBSE"], errors["EM"]) <= 0.02
    holds &= min(accuracy["BBSE"], accuracy["EM"]) > accuracy["uncorrected"]
    verdict = (
        f"The target's mean is {target_mean:g}: unweighted {mean['unweighted mean']:.2f}, weighted "
        f"{mean['weighted mean']:.2f}, at most {gaps['weighted'].max():.1f} standard errors off, by an effective "
        f"sample of {mean['effective sample size']:.0f}. The target's priors are found to {errors['BBSE']:.3f} (BBSE, "
        f"condition number {mean['condition number']:.1f}) and {errors['EM']:.3f} (EM) in L1, where the answers "
        f"themselves are off by {errors['answers']:.3f}; accuracy {accuracy['uncorrected']:.1%} becomes "
        f"{accuracy['BBSE']:.1%} and {accuracy['EM']:.1%}."
    )
    headline = Headline("L1 error of the target's priors by EM", labels["L1 error of the priors, EM"], "normal classes")
    return StudyResult({**inputs, **labels}, verdict, figures or {}, bool(holds), headline)


def study(
    *,
    num_seeds: PositiveInt = 5,
    points: PositiveInt = 5000,
    shift: float = 1.0,
    classes: PositiveInt = 5,
    prior_ratio: float = 10.0,
) -> StudyResult:
    """Undo a shift of the inputs and one of the labels.

    Args:
      points: number of points of each sample.
      shift: shift of the inputs' mean, in standard deviations.
      classes: number of classes of the label shift.
      prior_ratio: ratio of the most frequent class of the target to the rarest.
    """
    inputs = [covariate_shift(points, shift, seed) for seed in range(num_seeds)]
    labels = [label_shift(points, classes, prior_ratio, seed) for seed in range(num_seeds)]
    joined = ({name: [row[name] for row, _ in rows] for name in rows[0][0]} for rows in (inputs, labels))
    return report(*joined, {"shift": draw(inputs[0][1], labels[0][1])})


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "points": 1000})

if __name__ == "__main__":
    main(experiment)
