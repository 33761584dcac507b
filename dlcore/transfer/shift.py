"""Shift between source and target: weights of source examples, and the priors of a target without labels.

Covariate shift: P(x) changes, P(y | x) does not (Shimodaira 2000; Sugiyama, Krauledat & Müller 2007).

    E_target f = E_source w f,   w(x) = p_target(x) / p_source(x) = N / M · s(x) / (1 - s(x))

s is a logistic regression that tells M target examples from N source ones (Bickel, Brückner & Scheffer 2007). Weighting
costs sample: N examples are worth (Σ w)² / Σ w².

Label shift: P(y) changes, P(x | y) does not.

    v_j = p_target(j) / p_source(j)
    BBSE   C v = q,   C_ij = P_source(predicted i, is j),   q_i = P_target(predicted i)
    EM     r_mj = p_source(j | x_m) v_j / Σ_k p_source(k | x_m) v_k,   v_j = 1/M Σ_m r_mj / p_source(j),   again

Black-box shift estimation (Lipton, Wang & Smola 2018, arXiv:1802.03916) needs source examples that the classifier has
not seen, and a confusion matrix C that can be inverted: its condition number says by how much errors of q grow.
Expectation maximization (Saerens, Latinne & Decaestecker 2002) needs no such examples, but probabilities that are
right. By Bayes' rule, r is the probability under the new priors.
"""

from typing import Any, NamedTuple

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.classic_ml import logistic
from dlcore.ops.checks import check_class_ids, check_finite, check_probabilities, check_shapes

__all__ = [
    "Estimate",
    "Priors",
    "black_box_priors",
    "density_ratio",
    "effective_sample_size",
    "em_priors",
    "reweigh",
    "weighted_mean",
]


class Estimate(NamedTuple):
    """A mean.

    Args:
      value: the mean.
      standard_error: its standard error.
    """

    value: float
    standard_error: float


class Priors(NamedTuple):
    """Estimated class priors of the target domain.

    Args:
      priors: [C], P_target(y), none negative, summing to 1.
      ratios: [C], v, target over source, as estimated: they may be negative where the sample is small.
      condition: number of the confusion matrix; None of EM.
    """

    priors: np.ndarray
    ratios: np.ndarray
    condition: float | None = None


def density_ratio(source: Any, target: Any, l2: float = 1.0) -> np.ndarray:
    """Weigh source examples so that they stand for the target's.

    Args:
      source: [N, D], finite.
      target: [M, D], finite, from the other distribution.
      l2: penalty of the logistic regression, positive; a larger one keeps the weights closer to 1.

    Returns:
      [N], w, of mean 1.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if source.ndim != 2 or target.shape[1:] != source.shape[1:] or not len(source) or not len(target):
        raise ValueError(
            f"source and target: shapes {list(source.shape)} and {list(target.shape)}; "
            "allowed: [N, D] and [M, D] with examples in both"
        )
    both = np.concatenate([source, target])
    scale = both.std(0)
    both = (both - both.mean(0)) / np.where(scale > 0, scale, 1)
    is_target = np.repeat([0, 1], [len(source), len(target)])
    # A classifier of source against target; its odds are the density ratio.
    model = logistic.train(both, is_target, l2=l2)
    score = both[: len(source)] @ model.weights[0] + model.bias[0]
    # Subtract the largest score against overflow.
    weights = np.exp(score - score.max())
    return weights / weights.mean()


def effective_sample_size(weights: Any) -> float:
    """Count how many examples of equal weight have the variance of weighted ones.

    Args:
      weights: [N], none negative, not all 0.

    Returns:
      Between 1 and N.
    """
    weights = _weights(weights)
    check_shapes(weights=(weights, "N"))
    return float(weights.sum() ** 2 / np.square(weights).sum())


def weighted_mean(values: Any, weights: Any = None) -> Estimate:
    """Estimate the target's mean of a quantity that was measured on the source.

    Args:
      values: [N].
      weights: [N], of `density_ratio`; None estimates the source's mean.

    Returns:
      The self-normalized importance-sampling estimate and its standard error, for weights that are known exactly.
    """
    values = np.asarray(values, np.float64)
    weights = _weights(np.ones(len(values)) if weights is None else weights)
    if weights.shape != values.shape:
        raise ValueError(f"weights={weights.shape}: wrong shape; allowed: {values.shape}, one a value")
    mean = float((weights * values).sum() / weights.sum())
    return Estimate(mean, float(np.sqrt(np.square(weights * (values - mean)).sum()) / weights.sum()))


def black_box_priors(held_out: Any, labels: Any, target: Any, num_classes: int) -> Priors:
    """Recover the target's priors from the predictions of any classifier.

    Args:
      held_out: [N] int, predictions on source examples that it was not trained on.
      labels: [N] int, their classes.
      target: [M] int, its predictions on the target.
      num_classes: C.

    Returns:
      The priors.
    """
    check_whole_number("num_classes", num_classes, 1)
    held_out, labels, target = (np.asarray(x) for x in (held_out, labels, target))
    check_shapes(held_out=(held_out, "N"), target=(target, "M"))
    for name, classes in (("held_out", held_out), ("labels", labels), ("target", target)):
        check_class_ids(name, classes, num_classes)
    held_out, labels, target = (x.astype(np.int64) for x in (held_out, labels, target))  # booleans are classes 0 and 1
    if held_out.shape != labels.shape or not target.size:
        raise ValueError(
            f"held_out={held_out.shape}, labels={labels.shape}, target={target.shape}: wrong shapes; allowed: [N], [N] "
            "and [M], M above 0"
        )
    counts = np.bincount(labels, minlength=num_classes)
    if not counts.all():
        raise ValueError(f"labels: none of class {int(counts.argmin())}; allowed: each of {num_classes} classes")
    # Joint distribution of predictions and labels.
    joint = np.zeros((num_classes, num_classes))
    np.add.at(joint, (held_out, labels), 1 / len(labels))
    condition = float(np.linalg.cond(joint))
    if condition > 1e8:
        raise ValueError(
            f"held_out: the confusion matrix has condition number {condition:.0e}; allowed: a classifier that tells "
            "all classes apart"
        )
    predicted = np.bincount(target, minlength=num_classes) / len(target)
    # Solve C w = predicted priors (black box shift estimation).
    ratios = np.linalg.solve(joint, predicted)
    priors = np.maximum(ratios, 0) * counts / len(labels)
    return Priors(priors / priors.sum(), ratios, condition)


def em_priors(probabilities: Any, source_priors: Any, tolerance: float = 1e-7, max_steps: int = 10_000) -> Priors:
    """Recover the target's priors by maximum likelihood.

    Args:
      probabilities: [M, C], of a classifier that is calibrated on the source, for target examples.
      source_priors: [C], of what it was trained on, positive.
      tolerance: stop where no prior changes by more in a step.
      max_steps: stop at the latest.

    Returns:
      The priors.
    """
    check_shapes(tolerance=(tolerance, ">= 0"), max_steps=(max_steps, "int >= 1"))
    check_finite("tolerance", tolerance)
    source = _positive(source_priors)
    probabilities = _probabilities(probabilities, source)
    if not len(probabilities):
        raise ValueError("probabilities=[0]: none; allowed: at least one row")
    priors = source
    for _ in range(max_steps):
        scaled = probabilities * (priors / source)
        before, priors = priors, (scaled / scaled.sum(1, keepdims=True)).mean(0)
        if np.abs(priors - before).max() <= tolerance:
            break
    return Priors(priors, priors / source)


def reweigh(probabilities: Any, source_priors: Any, target_priors: Any) -> np.ndarray:
    """Correct a classifier's probabilities for other priors, by Bayes' rule.

    Args:
      probabilities: [M, C], under the source's priors.
      source_priors: [C], positive.
      target_priors: [C], none negative.

    Returns:
      [M, C], rows that sum to 1.
    """
    source, target = _positive(source_priors), np.asarray(target_priors, np.float64)
    if target.shape != source.shape or not (np.isfinite(target) & (target >= 0)).all():
        raise ValueError(f"target_priors={target.tolist()}: no priors; allowed: [{len(source)}], each at least 0")
    scaled = _probabilities(probabilities, source) * (target / source)
    total = scaled.sum(1, keepdims=True)
    if not total.all():
        raise ValueError(
            f"probabilities[{int(total.argmin())}]: impossible under target_priors={target.tolist()}; allowed: rows "
            "with a class whose prior is above 0"
        )
    return scaled / total


def _probabilities(probabilities: Any, priors: np.ndarray) -> np.ndarray:
    probabilities = np.asarray(probabilities, np.float64)
    if probabilities.ndim != 2 or probabilities.shape[1:] != priors.shape:
        raise ValueError(f"probabilities={probabilities.shape}: wrong shape; allowed: [M, {len(priors)}]")
    check_probabilities("probabilities", probabilities)
    return probabilities


def _weights(weights: Any) -> np.ndarray:
    weights = np.asarray(weights, np.float64)
    if not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
        raise ValueError(f"weights={weights}: no weights; allowed: finite, at least 0, and one above 0")
    return weights


def _positive(priors: Any) -> np.ndarray:
    priors = np.asarray(priors, np.float64)
    if priors.ndim != 1 or not (priors > 0).all():
        raise ValueError(f"source_priors={priors.tolist()}: not positive; allowed: above 0 for each class")
    check_probabilities("source_priors", priors)
    return priors
