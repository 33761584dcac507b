"""Seq2seq: copy, reverse or sort strings, by a transformer or a recurrent network with or without attention.

python -m experiments.sequence.seq2seq                                    (reverse, transformer)
python -m experiments.sequence.seq2seq --task=copy                        (copy, transformer)
python -m experiments.sequence.seq2seq --model=attention --lengths=4,20
python -m experiments.sequence.seq2seq --model=rnn --lengths=4,20
python -m experiments.sequence.seq2seq --mode=predict --run=RUN --input="c a b d"

No string of the validation and test splits is trained on. `--input` names a text file, a string a line, or is a string
itself; `--format=json` prints what each symbol looked at, too.
"""

import dataclasses
import math
from typing import Annotated, Any

import numpy as np

from dlcore.data.strings import STRING_TASKS, strings, symbols
from dlcore.data.words import END, SPECIAL
from dlcore.experiment import Experiment, FlagError, Flags, PositiveInt, Range, Setup, Splits
from dlcore.kits.training.optimizer import SETTINGS, AdamW
from dlcore.learner import Evaluator
from dlcore.main import main
from dlcore.sequence import seq2seq
from dlcore.tasks.sequence_pairs import SHORTEST, SMOKE, SequencePairs, attention_panel, outputs_panel


def mirrored(task: str) -> Evaluator:
    """Share of the written symbols whose largest weight is on the symbol that they repeat; none without attention."""

    def add(acc, outputs, rows):
        if "alignment" not in outputs:
            return acc or (0, 0)
        length = (rows["source"] > END).sum(1)[:, None]
        step = np.arange(outputs["alignment"].shape[1])
        right = (length - 1 - step) if task == "reverse" else step
        hits = (outputs["alignment"].argmax(-1) == right) & (step < length)
        before = acc or (0, 0)
        return before[0] + int(hits.sum()), before[1] + int(length.sum())

    return Evaluator(add, lambda acc: {"aligned": acc[0] / acc[1]} if acc[1] else {}, names=("aligned",))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Strings(SequencePairs):
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

    monitor = headline = "exact_match"

    def data(self, flags: Flags) -> Splits:
        """Draw the strings of three splits; training leaves out what the other two hold."""
        if flags.task not in STRING_TASKS:
            raise FlagError(f"--task={flags.task}: unknown; allowed: {', '.join(STRING_TASKS)}")
        if flags.lengths[0] > flags.lengths[1]:
            raise FlagError(f"--lengths={flags.lengths[0]},{flags.lengths[1]}: no range; allowed: the shorter first")
        options = {"length": flags.lengths, "vocabulary": flags.vocabulary}
        train, valid, test = (
            strings(flags.task, count, seed, **options)
            for seed, count in enumerate((flags.train_size, flags.valid_size, flags.test_size))
        )
        held_out = {row.tobytes() for split in (valid, test) for row in split.arrays["source"]}
        train_idx = [i for i, row in enumerate(train.arrays["source"]) if row.tobytes() not in held_out]
        if not train_idx:
            raise FlagError(
                f"--lengths={flags.lengths[0]},{flags.lengths[1]}: all strings are held out; allowed: longer"
            )
        spec = {
            "dataset": f"{flags.task}, {flags.lengths[0]} to {flags.lengths[1]} of {flags.vocabulary} symbols",
            "vocabulary": symbols(flags.vocabulary).to_dict(),
            "window": flags.lengths[1],
            "batch": SHORTEST,
        }
        return Splits(train.subset(np.array(train_idx)), valid, test, spec)

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
        """Exact matches and, where each symbol repeats one of the source, the alignment."""
        return [seq2seq.exact_match(), *([] if setup.flags.task == "sort" else [mirrored(setup.flags.task)])]

    def panels(self, context: Any) -> list:
        """Outputs, attention, exact matches by length, and curves."""
        from dlcore.report.curves import curves
        from dlcore.report.tables import table

        arrays = context.data.test.arrays
        right, length = seq2seq.matches(context.outputs["tokens"], arrays["target"]), (arrays["source"] > END).sum(1)
        rows = [
            {"symbols": int(n), "strings": int((length == n).sum()), "exact": float(right[length == n].mean())}
            for n in np.unique(length)
        ]
        chance_text = f"A guess is right once in {context.flags.vocabulary}^n."
        attention = attention_panel(context, choose=lambda i: length[i] >= min(8, length.max()))
        return [
            outputs_panel(context),
            *([] if attention is None else [attention]),
            table(rows, "Exact matches by length", chance_text),
            curves(context.history),
        ]

    def expected_loss(self, setup: Setup) -> float:
        return math.log(setup.flags.vocabulary + len(SPECIAL))


experiment = Experiment(
    __file__,
    __doc__,
    seq2seq.learner,
    task=Strings(),
    optimizer=AdamW(learning_rate=3e-3, weight_decay=0.0, clip_norm=1.0),
    settings={"accumulate": SETTINGS["accumulate"]},
    defaults={
        "transformer.features": 64,
        "transformer.hidden_features": 128,
        "steps": 2000,
        "eval_every": 500,
        "eval_batch_size": 1000,
    },
    smoke={**SMOKE, "lengths": (2, 5), "valid_size": 16},
)

if __name__ == "__main__":
    main(experiment)
