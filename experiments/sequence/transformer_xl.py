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

from dlcore.experiment import Experiment, Setup
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.nn.transformer_xl import TransformerXL
from dlcore.sequence import char_rnn
from dlcore.tasks.texts import TextStreams
from experiments.smoke import few_steps


def network(setup: Setup):
    return TransformerXL(len(setup.spec["vocabulary"]), **setup.flags.group("model"), dtype=setup.dtype)


experiment = Experiment(
    __file__,
    __doc__,
    char_rnn.learner,
    task=TextStreams(network=network),
    optimizer=AdamW(learning_rate=1e-3, warmup=0.05, weight_decay=0.1, clip_norm=1.0),
    modules={"model": TransformerXL},
    defaults={"model.dropout": 0.2, "steps": 600, "batch_size": 16, "eval_batch_size": 16, "eval_every": 50},
    smoke={
        **few_steps(4),
        "model.num_layers": 2,
        "model.num_heads": 2,
        "model.width": 16,
        "model.memory": 16,
        "chunk_length": 16,
        "sample_length": 20,
        "eval_streams": 8,
        "eval_batch_size": 8,
    },
)

if __name__ == "__main__":
    main(experiment)
