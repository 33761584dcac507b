"""Triage of learning curves: whether the learning rate is right, what the fit lacks, and where to lower the rate.

The habits of a careful look at the curves (Stanford CS231n, "Training neural networks"; Prechelt, "Early stopping, but
when?", 1998). A loss that stays where it began: the rate is too low. One that rises or is not finite: too high. A wide
gap between training and validation: over-fitting; no gap and room above: capacity; still rising: time.

    flat at a window of w points:    fall = -slope (w - 1) <= max(2 % of the level, 2 standard errors of the fall)

The slope is that of least squares, so that noise alone is not taken for progress. The thresholds are parameters and the
defaults round numbers: a verdict is a hint of where to look first. Losses are taken to be positive, as a cross-entropy.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlcore.diagnostics.finding import Finding

__all__ = ["fit_triage", "learning_rate_triage", "plateaus", "smoothing_floor", "triage", "turning_point"]

RANGE = "between 1e-5 and 1e-3"
FEWEST = 5


def learning_rate_triage(
    loss: Sequence[float],
    steps: Sequence[float] | None = None,
    flat: float = 0.1,
    blown: float = 3.0,
    floor: float | None = 0.0,
    rate: Sequence[float] | None = None,
) -> Finding:
    """Judge the learning rate by a training loss.

    "too high": not finite, above `blown` times its start, risen by more than the share `flat`, or back at its start
    after a jump to 1.5 times of it (units have died). "too low": not fallen by `flat`. "high": fell, then stayed from
    its first third on, still above a fifth of its start: it jumps about where a lower rate would go down. "good": none
    of these. "unclear": fewer than five points.

    Args:
      loss: [N], from the first step on; None or NaN where it was not finite.
      steps: [N], which the message names; None counts from 0.
      flat: share of its start by which a loss must change to count as fallen or risen.
      blown: multiple of its initial value above which a loss has diverged.
      floor: the least value that the loss can have, from which it is measured: 0, or `smoothing_floor`. None where it
        is not known; the rate is then never called "high".
      rate: [N], the learning rate at each point; where a schedule lowers it to a tenth, it is never called "high".

    Returns:
      The finding, of a kind above.

    Raises:
      ValueError: `loss` is not [N] with N at least 1, or `steps` has another shape.
    """
    loss, steps = _curve("loss", loss, steps)
    bad = np.flatnonzero(~np.isfinite(loss))
    if bad.size:
        return Finding("too high", f"the loss is not finite at {steps[bad[0]]:g}: lower the rate, try {RANGE}")
    if len(loss) < FEWEST:
        return Finding("unclear", f"too few points of the loss to judge the rate, {len(loss)}")
    lowered = rate is not None and _is_lowered(rate, 0.1)
    seen, loss = loss, loss - (floor or 0.0)
    start, end, (lowest, low), top = loss[0], _end(loss), _lowest(loss), loss.argmax()
    first_seen, last_seen = seen[0], _end(seen)
    jump = loss[top] - 5 * _noise(loss)
    if jump > blown * start or (jump > 1.5 * start and end > (1 - flat) * start):
        words = f"the loss rose from {first_seen:.3g} to {seen[top]:.3g} at {steps[top]:g}: lower the rate, try {RANGE}"
        return Finding("too high", words)
    if end > (1 + flat) * start or end > max(2 * low, low + flat * start):
        rise = f"from {_lowest(seen)[1]:.3g} at {steps[lowest]:g} to {last_seen:.3g}"
        words = f"the loss rises, {rise}: lower the rate, try {RANGE}"
        return Finding("too high", words)
    if end > (1 - flat) * start:
        return Finding("too low", f"the loss stays flat, from {first_seen:.3g} to {last_seen:.3g}: raise the rate")
    first, stop = (plateaus(loss) or [(len(loss), len(loss))])[-1]
    there = np.median(loss[first : first + max(len(loss) // 10, 1)]) if first < len(loss) else start
    judged = floor is not None and not lowered
    if (
        judged
        and first <= len(loss) / 3
        and stop == len(loss)
        and end > start / 5
        and start - there > 0.75 * (start - end)
    ):
        words = f"the loss fell at first and stays at {last_seen:.3g} from {steps[first]:g} on: lower the rate"
        return Finding("high", words)
    falls = -_change(loss[-max(len(loss) // 3, 3) :])[0] > 0.2 * (start - end)
    longer = "train longer" if lowered else "train longer, or raise the rate"
    more = f", and still does at the end: {longer}" if falls else ""
    return Finding("good", f"the loss falls, from {first_seen:.3g} to {last_seen:.3g}{more}")


def smoothing_floor(label_smoothing: float, num_classes: int) -> float:
    """The least cross-entropy with smoothed labels: the entropy of a target, which no network gets under.

    p = 1 - eps + eps / K for the true class, q = eps / K for the others:  floor = -p log p - (K - 1) q log q

    Args:
      label_smoothing: eps in [0, 1].
      num_classes: K.

    Returns:
      The floor in nats; 0 without smoothing.
    """
    others = label_smoothing / num_classes
    target = [1 - label_smoothing + others, *[others] * (num_classes - 1)]
    return -sum(p * math.log(p) for p in target if p > 0)


def fit_triage(
    train: Sequence[float], valid: Sequence[float], gap: float = 0.05, enough: float = 0.99, augmented: bool = False
) -> list[Finding]:
    """Judge under- and over-fitting by accuracies in training and validation.

    "train longer": the validation accuracy still rises in its last third. "over-fitting": the training accuracy ends
    more than `gap` above it. "more capacity": neither, and the training accuracy ends below `enough`; or the gap is
    smaller than the training error, so that both are to be mended. "good": none of these. "unclear": fewer than five
    points of the validation accuracy.

    Args:
      train: [N] accuracies in [0, 1]; those that are not finite are left out.
      valid: [M] accuracies in [0, 1]; those that are not finite are left out.
      gap: difference of training and validation accuracy above which the fit is over-fitting.
      enough: training accuracy from which on more capacity would not help.
      augmented: whether the training accuracy is of augmented images, which are harder: then it says nothing of
        capacity, and no gap is no sign of a good fit.

    Returns:
      The findings, of the kinds above; at least one, but for augmented images.

    Raises:
      ValueError: an accuracy lies outside [0, 1], or a curve is empty.
    """
    curves = {}
    for name, values in (("train", train), ("valid", valid)):
        values = _curve(name, values)[0]
        values = values[np.isfinite(values)]
        if not values.size or values.min() < 0 or values.max() > 1:
            raise ValueError(f"{name}={values.tolist()[:5]}: no accuracies; allowed: at least one, each in [0, 1]")
        curves[name] = values
    seen, unseen = (_end(values) for values in curves.values())
    of_what = " (of augmented images)" if augmented else ""
    accuracies = f"train accuracy {_percent(seen)}{of_what}, validation {_percent(unseen)}"
    valid = curves["valid"]
    if len(valid) < FEWEST:
        return [Finding("unclear", f"{accuracies}: too few points to judge the fit, {len(valid)}")]
    findings = []
    third = max(math.ceil(len(valid) / 3), 2)
    rise, error = _change(valid[-max(third, FEWEST) :])
    if third < FEWEST:  # the line is longer than the third, and what rose early may rise no more
        rise = min(rise, valid[-1] - valid[-third])
    if rise > max(0.01, 2 * error):
        words = f"{accuracies}: still rising, by {100 * rise:.2g} points in the last third; train longer"
        findings.append(Finding("train longer", words))
    if seen - unseen > gap:
        findings.append(Finding("over-fitting", f"{accuracies}: over-fitting; more data or stronger regularization"))
        if 1 - seen > seen - unseen and not augmented:
            findings.append(
                Finding("more capacity", f"the training error is {_percent(1 - seen)} itself: more capacity")
            )
    if augmented:
        return findings
    if not findings and seen < enough:
        findings.append(Finding("more capacity", f"{accuracies}: no gap; more capacity"))
    return findings or [Finding("good", f"{accuracies}: a good fit")]


def plateaus(loss: Sequence[float], window: int | None = None, fall: float = 0.02) -> list[tuple[int, int]]:
    """Find the stretches of a loss in which it does not fall.

    Args:
      loss: [N]; it is read up to the first value that is not finite. A loss that rises is a plateau too.
      window: points in a window, at least 3; None for a tenth of them, at least five, and so many that a steady fall
        would be seen through the noise.
      fall: share of its level by which a loss must fall over a window, beyond what noise explains, to count as falling.

    Returns:
      [(first, end), ...], positions in `loss`, `end` excluded; lower the rate at `first`.

    Raises:
      ValueError: `window` is below 3.
    """
    loss = _curve("loss", loss)[0]
    loss = loss[: len(loss) if np.isfinite(loss).all() else np.isfinite(loss).argmin()]
    if window is not None and window < 3:
        raise ValueError(f"window={window}: too short; allowed: at least 3")
    window = window or _window(loss)
    if len(loss) < window:
        return []
    windows = np.lib.stride_tricks.sliding_window_view(loss, window)
    change, error = _change(windows)
    flat = -change <= np.maximum(fall * np.abs(windows.mean(-1)), 2 * error)
    ends = np.flatnonzero(np.diff(np.concatenate([[False], flat, [False]]).astype(int)))
    stretches = [(int(a), int(b) + window - 1) for a, b in zip(ends[::2], ends[1::2], strict=True)]
    joined: list[tuple[int, int]] = []
    for a, b in stretches:  # one window in between that falls by chance does not part two
        joined[-1:] = [(joined[-1][0], b)] if joined and a <= joined[-1][1] else [*joined[-1:], (a, b)]
    return joined


def turning_point(loss: Sequence[float], rise: float = 0.1) -> int | None:
    """Find where a validation loss, smoothed by running medians, was lowest before it rose.

    Args:
      loss: [N].
      rise: share of its lowest value by which it must have risen since.

    Returns:
      The position in `loss`; None where it has not risen so far, is not finite, or has fewer than five points.
    """
    loss = _curve("loss", loss)[0]
    if len(loss) < FEWEST or not np.isfinite(loss).all():
        return None
    lowest, low = _lowest(loss)
    return lowest if _end(loss) > (1 + rise) * low else None


def triage(history: Sequence[Mapping[str, Any]], floor: float | None = 0.0, augmented: bool = False) -> list[str]:
    """Say what the learning curves of a run mean, in sentences.

    Args:
      history: rows as in metrics.jsonl, {"step": 100, "split": "train", "loss": 0.3, ...}; metrics that a run did not
        record are not judged. Rows of training tell the schedule where they hold `learning_rate`.
      floor: least possible training loss, as in `learning_rate_triage`.
      augmented: whether the training accuracy is of augmented images.

    Returns:
      Sentences without a capital and a full stop; none where there is nothing to say.
    """
    curves = {
        (split, name): _column(history, split, name) for split in ("train", "valid") for name in ("loss", "accuracy")
    }
    sentences = []
    steps, loss = curves["train", "loss"]
    if len(loss):
        rates = _column(history, "train", "learning_rate")[1]
        rates = rates if len(rates) == len(loss) else None
        rate = learning_rate_triage(loss, steps, floor=floor, rate=rates)
        sentences += [] if rate.kind == "unclear" else [f"learning rate {rate.kind}: {rate.message}"]
        if rate.kind == "good" and floor is not None and (rates is None or not _is_lowered(rates, 0.5)):
            sentences += _where_to_lower(steps, loss, floor)
    if len(curves["train", "accuracy"][1]) and len(curves["valid", "accuracy"][1]):
        accuracies = (curves[split, "accuracy"][1] for split in ("train", "valid"))
        sentences += [
            found.message for found in fit_triage(*accuracies, augmented=augmented) if found.kind != "unclear"
        ]
    steps, loss = curves["valid", "loss"]
    turn = turning_point(loss) if len(loss) else None
    if turn is not None:
        sentences.append(f"the validation loss, smoothed, was lowest at {steps[turn]:g}, and rises: stop there")
    return sentences


def _is_lowered(rate: Sequence[float], share: float) -> bool:
    """Whether a schedule brings the rate below that share of its peak."""
    return bool(rate[-1] < share * max(rate))


def _where_to_lower(steps: np.ndarray, loss: np.ndarray, floor: float) -> list[str]:
    """The plateau that a run ends in, unless the loss has all but gone by then."""
    last = (plateaus(loss) or [(0, 0)])[-1]
    if last[1] < len(loss) or _end(loss) - floor < 0.01 * (loss[0] - floor):
        return []
    return [f"the training loss stays at {_end(loss):.3g} from {steps[last[0]]:g} on: lower the rate there, or stop"]


def _curve(name: str, values: Sequence[float], steps: Sequence[float] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(values, steps), both [N] of floats; the steps count from 0 where not given."""
    values = np.asarray([math.nan if v is None else v for v in values], np.float64)
    steps = np.arange(len(values)) if steps is None else np.asarray(steps)
    if values.ndim != 1 or not len(values) or steps.shape != values.shape:
        raise ValueError(
            f"{name}={values.shape}: wrong shape beside steps {steps.shape}; allowed: both [N], N at least 1"
        )
    return values, steps


def _column(history: Sequence[Mapping[str, Any]], split: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(steps, values) of the rows that have a number under that name, NaN where it was None."""
    rows = [(row["step"], row[name]) for row in history if row.get("split") == split and name in row and "step" in row]
    steps, values = zip(*rows, strict=True) if rows else ((), ())
    return np.asarray(steps, np.float64), np.asarray([math.nan if v is None else v for v in values], np.float64)


def _end(values: np.ndarray) -> float:
    """The level of the last fifth."""
    return float(np.median(values[-max(len(values) // 5, 1) :]))


def _lowest(loss: np.ndarray) -> tuple[int, float]:
    """Where the smoothed loss was lowest before its last fifth, and how low."""
    smooth = _smooth(loss)[: -max(len(loss) // 5, 1)]
    return int(smooth.argmin()), float(smooth.min())


def _smooth(values: np.ndarray) -> np.ndarray:
    """Running medians of about a tenth of the points, five at most of a short curve; ends repeat."""
    half = max(1, len(values) // 20)
    return np.median(np.lib.stride_tricks.sliding_window_view(np.pad(values, half, mode="edge"), 2 * half + 1), -1)


def _window(loss: np.ndarray) -> int:
    """The least width w at which a steady fall by the curve's range R in N points is 6 standard errors.

    The fall over w points is R w / N and its standard error σ sqrt(12 / w), so w^(3/2) = 6 sqrt(12) σ N / R.
    """
    least = max(FEWEST, len(loss) // 10)
    if len(loss) < 2 * least:
        return least
    width = (6 * math.sqrt(12) * _noise(loss) * len(loss) / max(np.ptp(_smooth(loss)), 1e-12)) ** (2 / 3)
    return int(np.clip(math.ceil(width), least, len(loss) // 2))


def _noise(values: np.ndarray) -> float:
    """The standard deviation around a smooth curve: second differences have 1 + 4 + 1 times the variance."""
    return float(1.4826 * np.median(np.abs(np.diff(values, 2))) / math.sqrt(6))


def _change(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(change from the first to the last point of each window [..., w] by a line, its standard error)."""
    width = windows.shape[-1]
    t = np.arange(width) - (width - 1) / 2
    slope = windows @ t / (t @ t)
    residual = windows - windows.mean(-1, keepdims=True) - slope[..., None] * t
    error = np.sqrt(np.square(residual).sum(-1) / (width - 2) / (t @ t))
    return slope * (width - 1), error * (width - 1)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
