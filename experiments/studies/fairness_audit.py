"""Does an audit by groups find a planted bias, and does reweighting the groups reduce it?

python -m experiments.studies.fairness_audit

The label shows weakly in one number and, for 95 of 100 training examples, also in an attribute that has nothing to do
with it. A logistic regression takes the attribute, and is wrong for most of those whose attribute says otherwise: the
worst of the four groups (label, attribute). Trained with every group at equal weight, it has to use the number. The
claim holds where in every seed the worst group's accuracy is 0.5 at most at first, and 0.75 at least after reweighting.

References: Buolamwini & Gebru 2018, "Gender shades"; Sagawa et al. 2020, arXiv:1911.08731; Idrissi et al. 2022,
arXiv:2110.14503 (reweighting).
"""

from typing import Annotated

import numpy as np
from scipy.optimize import minimize

from dlcore.evaluators.groups import Audit, audit_groups
from dlcore.experiment import Headline, PositiveInt, Range, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, VERMILION, new_figure

BEFORE, AFTER = 0.5, 0.75
"""Accuracy of the worst group: at most without, at least with reweighting."""


def examples(count: int, agree: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw examples whose attribute is the label in a share `agree`.

    Returns features [count, 2], a number about +1 or -1 and the attribute as +1 or -1 with little noise, labels [count]
    and attributes [count].
    """
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, count)
    attribute = np.where(rng.random(count) < agree, label, 1 - label)
    number = (2 * label - 1) + rng.normal(size=count)
    attribute_feature = (2 * attribute - 1) + 0.1 * rng.normal(size=count)
    return np.stack([number, attribute_feature], 1), label, attribute


def fit(features: np.ndarray, label: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Fit a weighted logistic regression by L-BFGS; returns [weights..., bias]."""
    sign, x = 2 * label - 1, np.column_stack([features, np.ones(len(features))])

    def objective(w):
        margin = sign * (x @ w)
        slope = -weight * sign / (1 + np.exp(margin))
        return (weight * np.logaddexp(0, -margin)).mean() + 1e-4 * w @ w / 2, x.T @ slope / len(x) + 1e-4 * w

    return minimize(objective, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x


def group_weights(label: np.ndarray, attribute: np.ndarray) -> np.ndarray:
    """Weights at which the four groups count the same: N / (4 N_g)."""
    group = 2 * label + attribute
    return len(label) / (len(np.unique(group)) * np.bincount(group, minlength=4)[group])


def audits(seed: int, count: int, agree: float) -> dict[str, Audit]:
    """Audit a plain and a reweighted regression on test examples of four groups of one size."""
    features, label, attribute = examples(count, agree, 2 * seed)
    test, test_labels, other = examples(count, 0.5, 2 * seed + 1)
    names = np.array([f"label {y}, attribute {a}" for y, a in zip(test_labels, other, strict=True)])
    arm_audits = {}
    for arm, weight in (("plain", np.ones(count)), ("reweighted", group_weights(label, attribute))):
        w = fit(features, label, weight)
        arm_audits[arm] = audit_groups((test @ w[:2] + w[2] > 0).astype(int), test_labels, names)
    return arm_audits


def report(results: list[dict[str, Audit]]) -> StudyResult:
    """Judge the audits of each seed."""
    worst = {arm: [r[arm].groups[r[arm].worst].accuracy for r in results] for arm in ("plain", "reweighted")}
    odds = {arm: [r[arm].equalized_odds_difference for r in results] for arm in worst}
    holds = max(worst["plain"]) <= BEFORE and min(worst["reweighted"]) >= AFTER
    verdict = (
        f"The worst group ({results[0]['plain'].worst}) is right in {100 * np.mean(worst['plain']):.1f} % of its "
        f"examples, and in {100 * np.mean(worst['reweighted']):.1f} % after reweighting; the equalized odds difference "
        f"falls from {np.mean(odds['plain']):.2f} to {np.mean(odds['reweighted']):.2f}."
    )
    figure, axes = new_figure((6, 3.2))
    names = sorted(results[0]["plain"].groups)
    for shift, (arm, color) in zip((-0.2, 0.2), (("plain", VERMILION), ("reweighted", BLUE)), strict=True):
        rates = [results[0][arm].groups[name] for name in names]
        heights = np.array([r.accuracy for r in rates])
        errors = np.abs(np.array([r.interval for r in rates]).T - heights)
        axes.bar(np.arange(4) + shift, heights, 0.4, yerr=errors, color=color, label=arm, capsize=2)
    axes.set_xticks(range(4), [name.replace(", ", "\n") for name in names])
    axes.set(ylabel="accuracy", ylim=(0, 1.25), yticks=np.linspace(0, 1, 6))
    axes.legend(frameon=False, ncols=2)
    headline = Headline(
        "accuracy of the worst group after reweighting",
        worst["reweighted"],
        "planted bias",
        baseline=(float(np.mean(worst["plain"])), "the same regression without weights", "higher"),
    )
    return StudyResult(
        {f"accuracy of the worst group, {arm}": values for arm, values in worst.items()}
        | {f"equalized odds difference, {arm}": values for arm, values in odds.items()}
        | {"demographic parity difference, plain": [r["plain"].demographic_parity_difference for r in results]},
        verdict,
        {"accuracy by group, seed 0, 95 % intervals": figure},
        holds,
        headline,
    )


def study(
    *,
    num_seeds: PositiveInt = 3,
    count: Annotated[int, Range(100)] = 4000,
    agree: Annotated[float, Range(0, 1)] = 0.95,
) -> StudyResult:
    """Plant a bias, audit a model by groups, and reweight.

    Args:
      count: training examples, and as many of test.
      agree: share of training examples whose attribute is the label.
    """
    return report([audits(seed, count, agree) for seed in range(num_seeds)])


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "count": 1000})

if __name__ == "__main__":
    main(experiment)
