"""Transformer-XL: a character-level language model with segment-level recurrence; here below n-grams.

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

from functools import partial

from dlcore.data.texts import Text, TextStreams
from dlcore.experiment import Experiment, Measure, Sanity, Steps
from dlcore.main import main
from dlcore.models import Network
from dlcore.nn.transformer_xl import TransformerXL
from dlcore.optim import AdamW
from dlcore.sequence import char_rnn
from dlcore.sequence.text_samples import TextSamples, log_characters, num_characters
from experiments.smoke import few_steps

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(char_rnn.learner, chunk_length=64),
    data=TextStreams(Text("pages", valid_fraction=0.1)),
    network=Network(
        partial(TransformerXL, num_layers=4, num_heads=4, width=128, memory=64, dropout=0.2),
        of_run=num_characters,
        prefix="model",
    ),
    optimizer=AdamW(learning_rate=1e-3, schedule="cosine", warmup=0.05, weight_decay=0.1, clip_norm=1.0),
    length=Steps(600, batch_size=16, eval_batch_size=16, eval_every=50),
    measures=[Measure("loss", mode="min")],
    report=[TextSamples(prompt="The ", temperatures=(0.0, 0.5, 1.0))],
    sanity=Sanity(expected_loss=log_characters),
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
