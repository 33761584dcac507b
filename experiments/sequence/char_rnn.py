"""Teach an LSTM to write, one character after the other.

python -m experiments.sequence.char_rnn                                                     (a few embedded experiments)
python -m experiments.sequence.char_rnn --dataset=shakespeare --data_dir=D --batch_size=64 \\
    --steps=3000 --eval_every=500                                  (test 1.74 nats a character, 8 min)
python -m experiments.sequence.char_rnn --dataset=shakespeare --data_dir=D --batch_size=64 \\
    --steps=3000 --eval_every=500 --cell=gru                           (1.70; vanilla cells, --cell=rnn, 1.76)
python -m experiments.sequence.char_rnn --dataset=file --data_dir=PATH --prompt="Once "     (not run)

The loss is in nats a character. `--batch_size` is the number of streams that the text is read in, and an "epoch" of
the log is one step. The test text of shakespeare is its last tenth.
"""

import math
from typing import Literal

from dlcore.experiment import Experiment, Setting, Setup
from dlcore.kits import sequence
from dlcore.learner import Range
from dlcore.main import main
from dlcore.nn.recurrent import CELLS
from dlcore.optim import create_optimizer, create_schedule
from dlcore.sequence import char_rnn
from dlcore.sequence.networks import CharRNN


def build(setup: Setup):
    flags = setup.flags
    schedule = create_schedule("cosine", flags.learning_rate, setup.steps, round(flags.warmup * setup.steps))
    return char_rnn.learner(
        model=CharRNN(
            len(setup.spec["vocabulary"]),
            flags.width,
            flags.num_layers,
            flags.cell,
            flags.embedding,
            flags.unroll,
            setup.dtype,
        ),
        optimizer=create_optimizer(flags.optimizer, schedule, clip_norm=flags.clip_norm, axis=setup.axis),
        stop_token=sequence.stop_token(flags, setup.spec),
        **flags.group("learner"),
    )


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=char_rnn.learner,
    data=sequence.data,
    build=build,
    settings={
        **sequence.SETTINGS,
        "cell": Setting("lstm", "of the recurrent layers", Literal[tuple(CELLS)]),
        "num_layers": Setting(1, "recurrent layers", limits=Range(1)),
        "width": Setting(256, "of each layer", limits=Range(1)),
        "embedding": Setting(0, "width of a learnt vector a character; 0: one-hot", limits=Range(0)),
        "unroll": Setting(1, "time steps in one turn of the loop; speed alone", limits=Range(1)),
        "optimizer": Setting("adam", "see dlcore.optim.create_optimizer", Literal["adam", "sgd"]),
        "learning_rate": Setting(5e-3, "at its peak; it falls to 0 by a cosine", limits=Range(0)),
        "warmup": Setting(0.05, "share of the steps in which the rate rises from 0", limits=Range(0, 1)),
        "clip_norm": Setting(1.0, "largest global norm of the gradient", float | None, Range(1e-12)),
    },
    defaults={"steps": 300, "batch_size": 16, "eval_batch_size": 16, "log_every": 25, "eval_every": 50},
    smoke={
        "steps": 4,
        "batch_size": 8,
        "chunk_length": 16,
        "width": 16,
        "sample_length": 20,
        "eval_streams": 8,
        "eval_batch_size": 8,
        "log_every": 1,
        "eval_every": 4,
    },
    monitor="loss",
    monitor_mode="min",
    headline="loss",
    expected_loss=lambda setup: math.log(len(setup.spec["vocabulary"])),
    example=sequence.example,
    panels=sequence.panels,
)

if __name__ == "__main__":
    main(experiment)
