"""One recurrent network in five patterns: one-to-one, one-to-many, many-to-one and two kinds of many-to-many.

python -m experiments.sequence.patterns                                  (the opinion of a sentence: 100 %)
python -m experiments.sequence.patterns --pattern=one_to_one             (an 8 x 8 digit, without recurrence: 93 %)
python -m experiments.sequence.patterns --pattern=one_to_many            (a pitch to its 16 numbers: RMSE 0.004)
python -m experiments.sequence.patterns --pattern=many_to_many           (noisy depths, smoothed: RMSE 0.130 m)
python -m experiments.sequence.patterns --pattern=many_to_many_delayed   (a string to its reverse: 99.9 % exact)

In the report stands, beside the number, that of a method without memory: of the sentences a logistic regression on the
counts of words (51 %), of the depths the raw ones (0.251 m) and the best moving average (0.147 m). The first command is
`many_to_one`; `--rnn.bidirectional` lets it, and the smoother, read both ways (not run).
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dlcore.data.digits import digits
from dlcore.data.sentiment import WORDS, sentiment_sentences, word_counts
from dlcore.data.source import Source
from dlcore.data.tracks import noisy_depths
from dlcore.experiment import Experiment, Flags, PositiveInt, Setup, Splits
from dlcore.experiment.task import Task
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.sequence import patterns
from experiments.smoke import few_steps

SYMBOLS, STRING, TONE = 8, 6, 16


def digit_splits(train_size: int, test_size: int) -> list[Source]:
    """The last 200 of the training digits are for validation; the test digits are of other writers."""

    def rows(split: str, part: slice) -> Source:
        arrays = digits(split).arrays
        image = np.asarray(arrays["image"][part], np.float32).reshape(-1, 1, 64)
        return Source({"input": image, "target": arrays["label"][part, None]}, name="digits")

    first = slice(min(train_size, 1097))
    return [rows("train", first), rows("train", slice(-min(200, test_size), None)), rows("test", slice(test_size))]


def tones(count: int, seed: int) -> Source:
    """A pitch in [0, 1] -> 16 numbers of a damped wave."""
    pitch = np.array([np.random.default_rng((seed, i)).random() for i in range(count)])
    time = np.arange(TONE)
    wave = np.exp(-time / 16) * np.sin((0.3 + 0.7 * pitch[:, None]) * (time + 1))
    return Source({"input": np.float32(pitch[:, None, None]), "target": np.float32(wave[..., None])}, name="tones")


def sentences(count: int, seed: int) -> Source:
    arrays = sentiment_sentences(count, seed).arrays
    return Source(
        {"input": arrays["text"], "length": arrays["length"], "target": arrays["label"][:, None]}, name="film sentences"
    )


def depths(count: int, seed: int) -> Source:
    """Depths about the middle of their range, in meters."""
    arrays = noisy_depths(count, seed).arrays
    return Source({"input": arrays["seen"] - 3, "target": arrays["depth"] - 3}, name="noisy depths")


def reversals(count: int, seed: int) -> Source:
    strings = np.stack([np.random.default_rng((seed, i)).integers(0, SYMBOLS, STRING) for i in range(count)])
    strings = strings.astype(np.int32)
    return Source({"input": strings, "target": strings[:, ::-1].copy()}, name="strings")


class Problem(NamedTuple):
    """Problem of a pattern; `source`: (count, seed) -> Source, None for the digits."""

    source: Callable[[int, int], Source] | None
    num_outputs: int
    num_tokens: int
    categorical: bool
    output_steps: int = 1


PROBLEMS = {
    "one_to_one": Problem(None, 10, 0, True),
    "one_to_many": Problem(tones, 1, 0, False, TONE),
    "many_to_one": Problem(sentences, 2, len(WORDS), True),
    "many_to_many": Problem(depths, 1, 0, False),
    "many_to_many_delayed": Problem(reversals, SYMBOLS, SYMBOLS, True, STRING),
}


def moving_average(observations: np.ndarray, window: int) -> np.ndarray:
    """Average each of [N, T, ...] with the `window` - 1 before it, as many as there are."""
    total = np.cumsum(np.pad(observations, ((0, 0), (1, 0), *[(0, 0)] * (observations.ndim - 2))), axis=1)
    last = np.arange(1, observations.shape[1] + 1)
    first = np.maximum(last - window, 0)
    return (total[:, last] - total[:, first]) / (last - first).reshape(-1, *[1] * (observations.ndim - 2))


def rmse(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.sqrt(np.square(x - y).mean()))


def without_memory(pattern: str, splits: Splits) -> dict[str, float]:
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
class PatternProblems(Task):
    """The problem of each pattern.

    Args:
      train_size: training examples; the digits have 1,097
      test_size: examples of validation, and as many of test; the digits have 200 and 500
    """

    train_size: PositiveInt = 8000
    test_size: PositiveInt = 1000

    monitor = headline = "loss"
    monitor_mode = "min"

    def data(self, flags: Flags) -> Splits:
        sizes, make = (flags.train_size, flags.test_size), PROBLEMS[flags.pattern].source
        if make is None:
            splits = digit_splits(*sizes)
        else:
            splits = [make(size, seed) for seed, size in enumerate((sizes[0], sizes[1], sizes[1]))]
        return Splits(*splits, {"dataset": splits[0].name})

    def arguments(self, setup: Setup) -> dict[str, Any]:
        _, *fields = PROBLEMS[setup.flags.pattern]
        return {"model": patterns.PatternNet(*fields, **setup.flags.group("rnn"), dtype=setup.dtype)}

    def panels(self, context: Any) -> list:
        from dlcore.report.curves import curves
        from dlcore.report.tables import table

        numbers = without_memory(context.flags.pattern, context.data)
        rows = {name: f"{value:.4g}" for name, value in numbers.items()}
        rows |= {
            f"{k}, this network": f"{v:.4g}" for k, v in context.numbers.items() if k in ("accuracy", "exact", "rmse")
        }
        return [table(rows, "On the test split"), curves(context.history)]


experiment = Experiment(
    __file__,
    __doc__,
    patterns.learner,
    task=PatternProblems(),
    optimizer=AveragedAdamW(optimizer="adam", learning_rate=5e-3, weight_decay=0.0, clip_norm=1.0),
    modules={"rnn": patterns.PatternNet},
    defaults={"steps": 1500, "batch_size": 64, "eval_every": 250},
    smoke={**few_steps(4), "train_size": 32, "test_size": 8, "eval_batch_size": 8, "rnn.hidden_size": 8},
)

if __name__ == "__main__":
    main(experiment)
