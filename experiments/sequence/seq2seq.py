"""Seq2seq: copy, reverse or sort strings, by a transformer or a recurrent network with or without attention.

python -m experiments.sequence.seq2seq                                    (reverse, transformer)
python -m experiments.sequence.seq2seq --task=copy                        (copy, transformer)
python -m experiments.sequence.seq2seq --model=attention --lengths=4,20
python -m experiments.sequence.seq2seq --model=rnn --lengths=4,20
python -m experiments.sequence.seq2seq --mode=predict --run=RUN --input="c a b d"

No string of the validation and test splits is trained on. `--input` names a text file, a string a line, or is a string
itself; `--format=json` prints what each symbol looked at, too.
"""

import math

import numpy as np

from dlcore.data.strings import STRING_TASKS, strings, symbols
from dlcore.data.words import END, SPECIAL
from dlcore.experiment import Experiment, FlagError, Flags, Setting, Setup, Splits
from dlcore.kits.sequence import seq2seq as kit
from dlcore.kits.training import optimizer
from dlcore.learner import Evaluator, Range
from dlcore.main import main
from dlcore.sequence import seq2seq

SETTINGS = {
    "model": kit.MODEL,
    "task": Setting("reverse", f"what to make of a string: {', '.join(STRING_TASKS)}", essential=True),
    "vocabulary": Setting(20, "number of different symbols", limits=Range(2)),
    "lengths": Setting((4, 16), "symbols of the shortest and the longest string", tuple[int, int], Range(1)),
    "train_size": Setting(50_000, "strings to train on, less those of the other splits", limits=Range(1)),
    "valid_size": Setting(1_000, "strings to validate on", limits=Range(1)),
    "test_size": Setting(10_000, "strings to test on", limits=Range(1)),
}


def data(flags: Flags) -> Splits:
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
    kept = [i for i, row in enumerate(train.arrays["source"]) if row.tobytes() not in held_out]
    if not kept:
        raise FlagError(f"--lengths={flags.lengths[0]},{flags.lengths[1]}: all strings are held out; allowed: longer")
    spec = {
        "dataset": f"{flags.task}, {flags.lengths[0]} to {flags.lengths[1]} of {flags.vocabulary} symbols",
        "vocabulary": symbols(flags.vocabulary).to_dict(),
        "window": flags.lengths[1],
        "batch": kit.SHORTEST,
    }
    return Splits(train.subset(np.array(kept)), valid, test, spec)


def build(setup: Setup):
    return seq2seq.learner(model=kit.network(setup), optimizer=optimizer.build(setup), **setup.flags.group("learner"))


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


def evaluators(setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
    """Exact matches and, where each symbol repeats one of the source, the alignment."""
    return [seq2seq.exact_match(), *([] if setup.flags.task == "sort" else [mirrored(setup.flags.task)])]


def panels(context) -> list:
    """Outputs, attention, exact matches by length, and curves."""
    from dlcore.report.curves import curves
    from dlcore.report.tables import table

    arrays = context.data.test.arrays
    right, length = seq2seq.matches(context.outputs["tokens"], arrays["target"]), (arrays["source"] > END).sum(1)
    rows = [
        {"symbols": int(n), "strings": int((length == n).sum()), "exact": float(right[length == n].mean())}
        for n in np.unique(length)
    ]
    chance = f"A guess is right once in {context.flags.vocabulary}^n."
    attention = kit.attention_panel(context, choose=lambda i: length[i] >= min(8, length.max()))
    return [
        kit.outputs_panel(context),
        *([] if attention is None else [attention]),
        table(rows, "Exact matches by length", chance),
        curves(context.history),
    ]


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=seq2seq.learner,
    data=data,
    build=build,
    modules=kit.MODULES,
    settings={**SETTINGS, **{k: v for k, v in optimizer.SETTINGS.items() if k != "ema"}},
    defaults={
        "transformer.features": 64,
        "transformer.num_heads": 4,
        "transformer.hidden_features": 128,
        "transformer.encoder_layers": 2,
        "transformer.decoder_layers": 2,
        "transformer.dropout_rate": 0.0,
        "transformer.pre_norm": True,
        "rnn.hidden_size": 128,
        "rnn.embedding_dim": 64,
        "learning_rate": 3e-3,
        "weight_decay": 0.0,
        "clip_norm": 1.0,
        "steps": 2000,
        "eval_every": 500,
        "eval_batch_size": 1000,
    },
    smoke={
        "lengths": (2, 5),
        "transformer.features": 16,
        "transformer.hidden_features": 16,
        "transformer.encoder_layers": 1,
        "transformer.decoder_layers": 1,
        "rnn.hidden_size": 16,
        "train_size": 200,
        "valid_size": 16,
        "test_size": 16,
        "batch_size": 16,
        "eval_batch_size": 16,
        "steps": 4,
        "eval_every": 4,
    },
    monitor="exact_match",
    headline="exact_match",
    expected_loss=lambda setup: math.log(setup.flags.vocabulary + len(SPECIAL)),
    plain={"transformer.dropout_rate": 0.0, "rnn.dropout_rate": 0.0, "label_smoothing": 0.0, "weight_decay": 0.0},
    overfit=1e-2,
    inputs=kit.inputs,
    input_kind="TEXT_OR_FILE",
    describe=kit.describe,
    schedule=optimizer.schedule,
    panels=panels,
    evaluators=evaluators,
)

if __name__ == "__main__":
    main(experiment)
