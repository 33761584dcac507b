"""PatternProblems: a problem for each pattern of a recurrent network, and what methods without memory reach on it."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np

from dlcore.data.digits import digits
from dlcore.data.sentiment import WORDS, sentiment_sentences, word_counts
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.tracks import noisy_depths
from dlcore.learner import check_record
from dlcore.ops.checks import check_shapes
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.sequence.patterns import Pattern
from dlcore.setting import PositiveInt

__all__ = ["PatternProblems", "answer_sizes", "depths", "moving_average", "pattern_panels", "rmse"]

SYMBOLS, STRING, TONE = 8, 6, 16


def _digit_splits(train_size: int, test_size: int) -> list[Source]:
    """The last 200 of the training digits are for validation; the test digits are of other writers."""

    def rows(split: str, part: slice) -> Source:
        arrays = digits(split).arrays
        image = np.asarray(arrays["image"][part], np.float32).reshape(-1, 1, 64)
        return Source({"input": image, "target": arrays["label"][part, None]}, name="digits")

    first = slice(min(train_size, 1097))
    return [rows("train", first), rows("train", slice(-min(200, test_size), None)), rows("test", slice(test_size))]


def _tones(count: int, seed: int) -> Source:
    """A pitch in [0, 1] -> 16 numbers of a damped wave."""
    pitch = np.array([np.random.default_rng((seed, i)).random() for i in range(count)])
    time = np.arange(TONE)
    wave = np.exp(-time / 16) * np.sin((0.3 + 0.7 * pitch[:, None]) * (time + 1))
    return Source({"input": np.float32(pitch[:, None, None]), "target": np.float32(wave[..., None])}, name="tones")


def _sentences(count: int, seed: int) -> Source:
    arrays = sentiment_sentences(count, seed).arrays
    return Source(
        {"input": arrays["text"], "length": arrays["length"], "target": arrays["label"][:, None]}, name="film sentences"
    )


def depths(count: int, seed: int) -> Source:
    """Draw noisy depths about the middle of their range, in meters.

    Args:
      count: N, number of series.
      seed: seed of the series.

    Returns:
      `input [N, T, 1]` and `target [N, T, 1]`.
    """
    arrays = noisy_depths(count, seed).arrays
    return Source({"input": arrays["seen"] - 3, "target": arrays["depth"] - 3}, name="noisy depths")


def _reversals(count: int, seed: int) -> Source:
    strings = np.stack([np.random.default_rng((seed, i)).integers(0, SYMBOLS, STRING) for i in range(count)])
    strings = strings.astype(np.int32)
    return Source({"input": strings, "target": strings[:, ::-1].copy()}, name="strings")


class _Problem(NamedTuple):
    """Problem of a pattern; `source`: (count, seed) -> Source, None for the digits."""

    source: Callable[[int, int], Source] | None
    num_outputs: int
    num_tokens: int
    categorical: bool
    output_steps: int = 1


PROBLEMS = {
    "one_to_one": _Problem(None, 10, 0, True),
    "one_to_many": _Problem(_tones, 1, 0, False, TONE),
    "many_to_one": _Problem(_sentences, 2, len(WORDS), True),
    "many_to_many": _Problem(depths, 1, 0, False),
    "many_to_many_delayed": _Problem(_reversals, SYMBOLS, SYMBOLS, True, STRING),
}


def moving_average(observations: np.ndarray, window: int) -> np.ndarray:
    """Average each step with those before it.

    Args:
      observations: [N, T, ...].
      window: steps of the average, as many as there are.

    Returns:
      [N, T, ...].
    """
    check_shapes(observations=(observations, "N T ..."), window=(window, "int >= 1"))
    total = np.cumsum(
        np.pad(np.asarray(observations, np.float64), ((0, 0), (1, 0), *[(0, 0)] * (observations.ndim - 2))), axis=1
    )
    last = np.arange(1, observations.shape[1] + 1)
    first = np.maximum(last - window, 0)
    return (total[:, last] - total[:, first]) / (last - first).reshape(-1, *[1] * (observations.ndim - 2))


def rmse(x: np.ndarray, y: np.ndarray) -> float:
    """Compute the root of the mean squared difference.

    Args:
      x: [...].
      y: [...], or a number.

    Returns:
      The root, of all elements.
    """
    return float(np.sqrt(np.square(np.asarray(x, np.float64) - np.asarray(y, np.float64)).mean()))


def _without_memory(pattern: str, splits: Splits) -> dict[str, float]:
    """What simpler methods reach on the test split."""
    train, test = splits.train.arrays, splits.test.arrays
    if pattern == "many_to_one":
        from sklearn.linear_model import LogisticRegression

        fitted = LogisticRegression(max_iter=1000).fit(word_counts(train["input"]), train["target"][:, 0])
        score = fitted.score(word_counts(test["input"]), test["target"][:, 0])
        return {"accuracy of a logistic regression on word counts": float(score)}
    if pattern == "many_to_many":
        errors = {w: rmse(moving_average(train["input"], w), train["target"]) for w in range(1, 16)}
        best = min(errors, key=errors.get)
        return {
            "RMSE, raw": rmse(test["input"], test["target"]),
            f"RMSE, mean of {best} frames": rmse(moving_average(test["input"], best), test["target"]),
        }
    return {}


@dataclasses.dataclass(frozen=True)
class PatternProblems:
    """The problem of each pattern.

    Args:
      train_size: training examples; the digits have 1,097
      test_size: examples of validation, and as many of test; the digits have 200 and 500
      pattern: the pattern, the technique's `--pattern`.
    """

    train_size: PositiveInt = 8000
    test_size: PositiveInt = 1000
    pattern: Annotated[Pattern, "no flag"] = "many_to_one"

    reads_files: ClassVar[bool] = False

    def __post_init__(self):
        check_record(self)

    def with_flags(self, flags: Any) -> "PatternProblems":
        """Return the problem of `--pattern`."""
        return PatternProblems(flags.train_size, flags.test_size, flags.pattern)

    def load(self) -> Splits:
        """Draw the problem: `input`, `target`, and `length` of sentences."""
        sizes, make = (self.train_size, self.test_size), PROBLEMS[self.pattern].source
        if make is None:
            splits = _digit_splits(*sizes)
        else:
            splits = [make(size, seed) for seed, size in enumerate((sizes[0], sizes[1], sizes[1]))]
        return Splits(*splits, {"dataset": splits[0].name})


def answer_sizes(run: Any) -> dict[str, Any]:
    """Read the fields of a network from the problem of the pattern.

    Returns:
      `num_outputs`, `num_tokens`, `categorical` and `output_steps`.
    """
    _, *fields = PROBLEMS[run.parts.data.pattern]
    return dict(zip(_Problem._fields[1:], fields, strict=True))


def pattern_panels(context: ReportContext) -> list[Panel]:
    """Show the numbers beside those of simpler methods, and the curves."""
    from dlcore.report.curves import curves
    from dlcore.report.tables import table

    numbers = _without_memory(context.flags.pattern, context.data)
    rows = {name: f"{value:.4g}" for name, value in numbers.items()}
    rows |= {f"{k}, this network": f"{v:.4g}" for k, v in context.numbers.items() if k in ("accuracy", "exact", "rmse")}
    return [table(rows, "On the test split"), curves(context.history)]
