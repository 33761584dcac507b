"""Strings: random strings, what a program makes of each, and how much of it is right."""

import dataclasses
from typing import Annotated, Any, ClassVar

import numpy as np

from dlcore.data.splits import Splits
from dlcore.data.strings import STRING_TASKS, strings, symbols
from dlcore.data.words import END
from dlcore.experiment.parts import Run
from dlcore.experiment.setting import FlagError, PositiveInt
from dlcore.learner import Evaluator, Range, check_record
from dlcore.modes.report_context import ReportContext
from dlcore.report.panel import Panel
from dlcore.sequence import seq2seq
from dlcore.tasks.sequence_pairs import SHORTEST, attention_panel, outputs_panel

__all__ = ["StringMatches", "Strings", "mirrored"]


@dataclasses.dataclass(frozen=True)
class Strings:
    """Random strings, and what a program makes of each.

    Args:
      task: what to make of a string: copy, reverse, sort
      vocabulary: number of different symbols
      lengths: symbols of the shortest and the longest string
      train_size: strings to train on, less those of the other splits
      valid_size: strings to validate on
      test_size: strings to test on
    """

    task: Annotated[str, "essential"] = "reverse"
    vocabulary: Annotated[int, Range(2)] = 20
    lengths: Annotated[tuple[int, int], Range(1)] = (4, 16)
    train_size: PositiveInt = 50_000
    valid_size: PositiveInt = 1_000
    test_size: PositiveInt = 10_000

    reads_files: ClassVar[bool] = False

    def __post_init__(self):
        check_record(self)

    def load(self) -> Splits:
        """Draw the strings of three splits; training leaves out what the other two hold."""
        low, high = self.lengths
        if self.task not in STRING_TASKS:
            raise FlagError(f"--task={self.task}: unknown; allowed: {', '.join(STRING_TASKS)}")
        if low > high:
            raise FlagError(f"--lengths={low},{high}: no range; allowed: the shorter first")
        train, valid, test = (
            strings(self.task, count, seed, length=self.lengths, vocabulary=self.vocabulary)
            for seed, count in enumerate((self.train_size, self.valid_size, self.test_size))
        )
        held_out = {row.tobytes() for split in (valid, test) for row in split.arrays["source"]}
        train_idx = [i for i, row in enumerate(train.arrays["source"]) if row.tobytes() not in held_out]
        if not train_idx:
            raise FlagError(f"--lengths={low},{high}: all strings are held out; allowed: longer")
        spec = {
            "dataset": f"{self.task}, {low} to {high} of {self.vocabulary} symbols",
            "vocabulary": symbols(self.vocabulary).to_dict(),
            "window": high,
            "batch": SHORTEST,
        }
        return Splits(train.subset(np.array(train_idx)), valid, test, spec)


class StringMatches:
    """Share of the strings that are written without a mistake, and the alignment where symbols repeat the source."""

    metric = "exact_match"
    mode = "max"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure exact matches and, where each symbol repeats one of the source, the alignment."""
        task = run.parts.data.task
        return [seq2seq.exact_match(), *([] if task == "sort" else [mirrored(task)])]

    def panels(self, context: ReportContext, run: Run) -> list[Panel]:
        """Show outputs, attention, exact matches by length, and curves."""
        from dlcore.report.curves import curves
        from dlcore.report.tables import table

        arrays = context.data.test.arrays
        right, length = seq2seq.matches(context.outputs["tokens"], arrays["target"]), (arrays["source"] > END).sum(1)
        rows = [
            {"symbols": int(n), "strings": int((length == n).sum()), "exact": float(right[length == n].mean())}
            for n in np.unique(length)
        ]
        chance_text = f"A guess is right once in {run.parts.data.vocabulary}^n."
        attention = attention_panel(context, choose=lambda i: length[i] >= min(8, length.max()))
        return [
            outputs_panel(context),
            *([] if attention is None else [attention]),
            table(rows, "Exact matches by length", chance_text),
            curves(context.history),
        ]


def mirrored(task: str) -> Evaluator:
    """Measure the share of the symbols whose largest weight is on the symbol that they repeat.

    Args:
      task: copy or reverse.

    Returns:
      The evaluator of `aligned`; none without attention.
    """

    def add(acc: Any, outputs: dict, rows: dict) -> tuple[int, int]:
        if "alignment" not in outputs:
            return acc or (0, 0)
        length = (rows["source"] > END).sum(1)[:, None]
        step = np.arange(outputs["alignment"].shape[1])
        right = (length - 1 - step) if task == "reverse" else step
        hits = (outputs["alignment"].argmax(-1) == right) & (step < length)
        before = acc or (0, 0)
        return before[0] + int(hits.sum()), before[1] + int(length.sum())

    return Evaluator(add, lambda acc: {"aligned": acc[0] / acc[1]} if acc[1] else {}, names=("aligned",))
