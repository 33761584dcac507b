"""Triage of learning curves: is the learning rate right, does the model over- or underfit, where to lower the rate.

Rules of thumb for learning curves (Stanford CS231n, "Training neural networks"; Prechelt, "Early stopping, but when?",
1998). A constant loss: the learning rate is too low. A loss that rises or is not finite: too high. A large gap between
training and validation: over-fitting; no gap and low accuracy: more capacity; accuracy still rising: train longer.

    flat at a window of w points:    fall = -slope (w - 1) <= max(2 % of the level, 2 standard errors of the fall)

The slope is by least squares, so that noise does not count as progress. The thresholds are parameters with round
defaults: a verdict is a hint where to look first. Losses should be positive, as a cross-entropy.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.diagnostics.finding import Finding
from dlcore.ops.checks import check_finite, check_shapes

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
    """Diagnose the learning rate by a training loss.

    "too high": not finite, above `blown` times its initial value, risen by more than the fraction `flat`, or back at
    its initial value after a jump to 1.5 times that (units have died). "too low": not fallen by `flat`. "high": fell,
    then stayed constant from its first third on, above a fifth of its initial value: a lower rate would go further
    down. "good": none of these. "unclear": fewer than five points.

    Args:
      loss: [N], from the first step on; None or NaN if not finite.
      steps: [N], steps for the message; None counts from 0.
      flat: fraction of its initial value by which a loss must change to count as fallen or risen.
      blown: multiple of its initial value above which a loss has diverged.
      floor: least possible loss: 0, or `smoothing_floor`. None if unknown; the rate is then never called "high".
      rate: [N], learning rate at each point; if a schedule lowers it to a tenth, it is never called "high".

    Returns:
      The finding, of a kind above.
    """
    check_shapes(flat=(flat, "0 to 1"), blown=(blown, ">= 1"), floor=(floor, "finite or None"))
    loss, steps = _curve("loss", loss, steps)
    check_shapes(loss=(loss, "N"), rate=(rate, "N or None"))
    bad = np.flatnonzero(~np.isfinite(loss))
    if bad.size:
        return Finding("too high", f"the loss is not finite at {steps[bad[0]]:g}: lower the rate, try {RANGE}")
    if len(loss) < FEWEST:
        return Finding("unclear", f"too few points of the loss to judge the rate, {len(loss)}")
    lowered = rate is not None and _is_lowered(rate, 0.1)
    raw, loss = loss, loss - (floor or 0.0)
    start, end, (lowest, low), top = loss[0], _end(loss), _lowest(loss), loss.argmax()
    first_value, last_value = raw[0], _end(raw)
    jump = loss[top] - 5 * _noise(loss)
    if jump > blown * start or (jump > 1.5 * start and end > (1 - flat) * start):
        message = (
            f"the loss rose from {first_value:.3g} to {raw[top]:.3g} at {steps[top]:g}: lower the rate, try {RANGE}"
        )
        return Finding("too high", message)
    if end > (1 + flat) * start or end > max(2 * low, low + flat * start):
        rise = f"from {_lowest(raw)[1]:.3g} at {steps[lowest]:g} to {last_value:.3g}"
        message = f"the loss rises, {rise}: lower the rate, try {RANGE}"
        return Finding("too high", message)
    if end > (1 - flat) * start:
        return Finding("too low", f"the loss stays flat, from {first_value:.3g} to {last_value:.3g}: raise the rate")
    first, stop = (plateaus(loss) or [(len(loss), len(loss))])[-1]
    plateau_level = np.median(loss[first : first + max(len(loss) // 10, 1)]) if first < len(loss) else start
    can_be_high = floor is not None and not lowered
    if (
        can_be_high
        and first <= len(loss) / 3
        and stop == len(loss)
        and end > start / 5
        and start - plateau_level > 0.75 * (start - end)
    ):
        message = f"the loss fell at first and stays at {last_value:.3g} from {steps[first]:g} on: lower the rate"
        return Finding("high", message)
    falls = -_change(loss[-max(len(loss) // 3, 3) :])[0] > 0.2 * (start - end)
    longer = "train longer" if lowered else "train longer, or raise the rate"
    more = f", and still does at the end: {longer}" if falls else ""
    return Finding("good", f"the loss falls, from {first_value:.3g} to {last_value:.3g}{more}")


def smoothing_floor(label_smoothing: float, num_classes: int) -> float:
    """Compute the least cross-entropy with smoothed labels: the entropy of a target.

    p = 1 - eps + eps / K for the true class, q = eps / K for the other classes:  floor = -p log p - (K - 1) q log q

    Args:
      label_smoothing: eps in [0, 1].
      num_classes: K.

    Returns:
      The floor in nats; 0 without smoothing.
    """
    check_shapes(label_smoothing=(label_smoothing, "0 to 1"), num_classes=(num_classes, "int >= 1"))
    q = label_smoothing / num_classes
    target = [1 - label_smoothing + q, *[q] * (num_classes - 1)]
    return -sum(p * math.log(p) for p in target if p > 0)


def fit_triage(
    train: Sequence[float], valid: Sequence[float], gap: float = 0.05, enough: float = 0.99, augmented: bool = False
) -> list[Finding]:
    """Diagnose under- and over-fitting by training and validation accuracies.

    "train longer": the validation accuracy still rises in its last third. "over-fitting": the training accuracy ends
    more than `gap` above it. "more capacity": neither, and the training accuracy ends below `enough`; or over-fitting
    with a gap smaller than the training error. "good": none of these. "unclear": fewer than five
    points of the validation accuracy.

    Args:
      train: [N] accuracies in [0, 1]; values that are not finite are left out.
      valid: [M] accuracies in [0, 1]; values that are not finite are left out.
      gap: difference of training and validation accuracy that counts as over-fitting.
      enough: training accuracy above which more capacity does not help.
      augmented: whether the training accuracy is measured on augmented images, which are harder: it is then no evidence
        of capacity or of a good fit.

    Returns:
      The findings, of the kinds above; at least one, except for augmented images.
    """
    check_shapes(gap=(gap, "0 to 1"), enough=(enough, "0 to 1"))
    curves = {}
    for name, values in (("train", train), ("valid", valid)):
        values = _curve(name, values)[0]
        values = values[np.isfinite(values)]
        if not values.size or values.min() < 0 or values.max() > 1:
            raise ValueError(f"{name}={values.tolist()[:5]}: no accuracies; allowed: at least one, each in [0, 1]")
        curves[name] = values
    train_accuracy, valid_accuracy = (_end(values) for values in curves.values())
    qualifier = " (of augmented images)" if augmented else ""
    accuracies = f"train accuracy {_percent(train_accuracy)}{qualifier}, validation {_percent(valid_accuracy)}"
    valid = curves["valid"]
    if len(valid) < FEWEST:
        return [Finding("unclear", f"{accuracies}: too few points to judge the fit, {len(valid)}")]
    findings = []
    third = max(math.ceil(len(valid) / 3), 2)
    rise, error = _change(valid[-max(third, FEWEST) :])
    if third < FEWEST:  # the fitted line is longer than the third, and an early rise may be over
        rise = min(rise, valid[-1] - valid[-third])
    if rise > max(0.01, 2 * error):
        words = f"{accuracies}: still rising, by {100 * rise:.2g} points in the last third; train longer"
        findings.append(Finding("train longer", words))
    if train_accuracy - valid_accuracy > gap:
        findings.append(Finding("over-fitting", f"{accuracies}: over-fitting; more data or stronger regularization"))
        if 1 - train_accuracy > train_accuracy - valid_accuracy and not augmented:
            findings.append(
                Finding("more capacity", f"the training error is {_percent(1 - train_accuracy)} itself: more capacity")
            )
    if augmented:
        return findings
    if not findings and train_accuracy < enough:
        findings.append(Finding("more capacity", f"{accuracies}: no gap; more capacity"))
    return findings or [Finding("good", f"{accuracies}: a good fit")]


def plateaus(loss: Sequence[float], window: int | None = None, fall: float = 0.02) -> list[tuple[int, int]]:
    """Find the plateaus of a loss: segments in which it does not fall.

    Args:
      loss: [N], used up to the first value that is not finite. A rising loss is a plateau too.
      window: points per window, at least 3; None for a tenth of the points, at least five, and enough that a steady
        fall exceeds the noise.
      fall: fraction of its level by which a loss must fall over a window, beyond the noise, to count as falling.

    Returns:
      [(first, end), ...], indices into `loss`, `end` excluded; lower the learning rate at `first`.
    """
    check_shapes(fall=(fall, ">= 0"))
    check_finite("fall", fall)
    loss = _curve("loss", loss)[0]
    loss = loss[: len(loss) if np.isfinite(loss).all() else np.isfinite(loss).argmin()]
    if window is not None:
        check_whole_number("window", window, 3)
    window = window or _window(loss)
    if len(loss) < window:
        return []
    windows = np.lib.stride_tricks.sliding_window_view(loss, window)
    change, error = _change(windows)
    flat = -change <= np.maximum(fall * np.abs(windows.mean(-1)), 2 * error)
    boundaries = np.flatnonzero(np.diff(np.concatenate([[False], flat, [False]]).astype(int)))
    segments = [(int(a), int(b) + window - 1) for a, b in zip(boundaries[::2], boundaries[1::2], strict=True)]
    merged: list[tuple[int, int]] = []
    for a, b in segments:  # a single falling window in between does not separate two
        merged[-1:] = [(merged[-1][0], b)] if merged and a <= merged[-1][1] else [*merged[-1:], (a, b)]
    return merged


def turning_point(loss: Sequence[float], rise: float = 0.1) -> int | None:
    """Find the minimum of a validation loss, smoothed by running medians, before it rose.

    Args:
      loss: [N].
      rise: fraction of its minimum by which it must have risen since.

    Returns:
      The index into `loss`; None if it has not risen, is not finite, or has fewer than five points.
    """
    check_shapes(rise=(rise, ">= 0"))
    loss = _curve("loss", loss)[0]
    if len(loss) < FEWEST or not np.isfinite(loss).all():
        return None
    lowest, low = _lowest(loss)
    return lowest if _end(loss) > (1 + rise) * low else None


def triage(history: Sequence[Mapping[str, Any]], floor: float | None = 0.0, augmented: bool = False) -> list[str]:
    """Diagnose the learning curves of a run.

    Args:
      history: rows as in metrics.jsonl, {"step": 100, "split": "train", "loss": 0.3, ...}; missing metrics are
        skipped. Training rows with `learning_rate` show the schedule.
      floor: least possible training loss, as in `learning_rate_triage`.
      augmented: whether the training accuracy is measured on augmented images.

    Returns:
      Sentences without a capital letter and a full stop; none without findings.
    """
    check_shapes(floor=(floor, "finite or None"))
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
            finding.message for finding in fit_triage(*accuracies, augmented=augmented) if finding.kind != "unclear"
        ]
    steps, loss = curves["valid", "loss"]
    turn = turning_point(loss) if len(loss) else None
    if turn is not None:
        sentences.append(f"the validation loss, smoothed, was lowest at {steps[turn]:g}, and rises: stop there")
    return sentences


def _is_lowered(rate: Sequence[float], fraction: float) -> bool:
    """Return whether a schedule lowers the learning rate below that fraction of its peak."""
    return bool(rate[-1] < fraction * max(rate))


def _where_to_lower(steps: np.ndarray, loss: np.ndarray, floor: float) -> list[str]:
    """Report the plateau at the end of a run, unless the loss is almost 0 by then."""
    last = (plateaus(loss) or [(0, 0)])[-1]
    if last[1] < len(loss) or _end(loss) - floor < 0.01 * (loss[0] - floor):
        return []
    return [f"the training loss stays at {_end(loss):.3g} from {steps[last[0]]:g} on: lower the rate there, or stop"]


def _curve(name: str, values: Sequence[float], steps: Sequence[float] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Convert to (values, steps), both [N] floats; steps count from 0 by default."""
    if isinstance(values, str) or not np.iterable(values):
        raise ValueError(f"{name}={values!r}: no curve; allowed: numbers [N]")
    try:
        values = np.asarray([math.nan if v is None else v for v in values], np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: holds what is no number; allowed: numbers [N], or None") from error
    steps = np.arange(len(values)) if steps is None else np.asarray(steps)
    if values.ndim != 1 or not len(values) or steps.shape != values.shape:
        raise ValueError(
            f"{name}={values.shape}: wrong shape beside steps {steps.shape}; allowed: both [N], N at least 1"
        )
    return values, steps


def _column(history: Sequence[Mapping[str, Any]], split: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (steps, values) of the rows with that metric, NaN for None."""
    rows = [(row["step"], row[name]) for row in history if row.get("split") == split and name in row and "step" in row]
    steps, values = zip(*rows, strict=True) if rows else ((), ())
    return np.asarray(steps, np.float64), np.asarray([math.nan if v is None else v for v in values], np.float64)


def _end(values: np.ndarray) -> float:
    """Compute the median of the last fifth."""
    return float(np.median(values[-max(len(values) // 5, 1) :]))


def _lowest(loss: np.ndarray) -> tuple[int, float]:
    """Return index and value of the minimum of the smoothed loss before its last fifth."""
    smooth = _smooth(loss)[: -max(len(loss) // 5, 1)]
    return int(smooth.argmin()), float(smooth.min())


def _smooth(values: np.ndarray) -> np.ndarray:
    """Compute running medians over about a tenth of the points, with repeated ends."""
    half = max(1, len(values) // 20)
    return np.median(np.lib.stride_tricks.sliding_window_view(np.pad(values, half, mode="edge"), 2 * half + 1), -1)


def _window(loss: np.ndarray) -> int:
    """Compute the least window w in which a steady fall by the curve's range R in N points is 6 standard errors.

    The fall over w points is R w / N and its standard error σ sqrt(12 / w), so w^(3/2) = 6 sqrt(12) σ N / R.
    """
    least = max(FEWEST, len(loss) // 10)
    if len(loss) < 2 * least:
        return least
    width = (6 * math.sqrt(12) * _noise(loss) * len(loss) / max(np.ptp(_smooth(loss)), 1e-12)) ** (2 / 3)
    return int(np.clip(math.ceil(width), least, len(loss) // 2))


def _noise(values: np.ndarray) -> float:
    """Estimate the noise around a smooth curve: second differences have 1 + 4 + 1 times its variance."""
    return float(1.4826 * np.median(np.abs(np.diff(values, 2))) / math.sqrt(6))


def _change(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit a line to each window [..., w]; return (change from its first to its last point, standard error)."""
    width = windows.shape[-1]
    t = np.arange(width) - (width - 1) / 2
    slope = windows @ t / (t @ t)
    residual = windows - windows.mean(-1, keepdims=True) - slope[..., None] * t
    error = np.sqrt(np.square(residual).sum(-1) / (width - 2) / (t @ t))
    return slope * (width - 1), error * (width - 1)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3g} %"
