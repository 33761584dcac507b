"""Transformer-XL: a character-level language model with segment-level recurrence.

python -m experiments.sequence.transformer_xl                        (a few embedded pages: test 2.26 nats, 8 min)
python -m experiments.sequence.transformer_xl --dataset=shakespeare --data_dir=D --batch_size=16 --steps=2000 \\
    --model.dropout=0 --eval_every=500                            (test 1.84 nats, 8 min on one core beside other jobs)
python -m experiments.sequence.transformer_xl --dataset=shakespeare --data_dir=D --batch_size=8 --steps=2000 \\
    --model.dropout=0 --eval_every=500 --chunk_length=128 --model.memory=0
                                                                  (1.86: segments as long as segment and memory were)
python -m experiments.sequence.transformer_xl --model.memory=0                      (the same network without a memory)

The text is read in streams, a segment of `--chunk_length` characters in each step, as `sequence.char_rnn` reads it: the
memory is the state that is carried from step to step.
"""

import math

from dlcore.experiment import Experiment, Setup
from dlcore.kits.sequence import text_streams
from dlcore.kits.training import optimizer
from dlcore.main import main
from dlcore.nn.transformer_xl import TransformerXL
from dlcore.sequence import char_rnn


def build(setup: Setup):
    flags = setup.flags
    return char_rnn.learner(
        model=TransformerXL(len(setup.spec["vocabulary"]), **flags.group("model"), dtype=setup.dtype),
        optimizer=optimizer.build(setup),
        stop_token=text_streams.stop_token(flags, setup.spec),
        **flags.group("learner"),
    )


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=char_rnn.learner,
    data=text_streams.data,
    build=build,
    modules={"model": TransformerXL},
    settings={
        **text_streams.SETTINGS,
        **{k: v for k, v in optimizer.SETTINGS.items() if k not in ("ema", "accumulate")},
    },
    defaults={
        "model.dropout": 0.2,
        "learning_rate": 1e-3,
        "warmup": 0.05,
        "weight_decay": 0.1,
        "clip_norm": 1.0,
        "steps": 600,
        "batch_size": 16,
        "eval_batch_size": 16,
        "eval_every": 50,
    },
    smoke={
        "model.num_layers": 2,
        "model.num_heads": 2,
        "model.width": 16,
        "model.memory": 16,
        "steps": 4,
        "batch_size": 8,
        "chunk_length": 16,
        "sample_length": 20,
        "eval_streams": 8,
        "eval_batch_size": 8,
        "eval_every": 4,
    },
    monitor="loss",
    monitor_mode="min",
    headline="loss",
    expected_loss=lambda setup: math.log(len(setup.spec["vocabulary"])),
    schedule=optimizer.schedule,
    panels=text_streams.panels,
)

if __name__ == "__main__":
    main(experiment)
