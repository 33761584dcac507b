"""Character-level language model by an LSTM, a GRU or a vanilla RNN; here below n-grams.

python -m experiments.sequence.char_rnn                                      (a few embedded pages)
python -m experiments.sequence.char_rnn --dataset=shakespeare --data_dir=D --batch_size=64 \\
    --steps=3000 --eval_every=500                                            (test 1.74 nats a character, 8 min)
python -m experiments.sequence.char_rnn --dataset=shakespeare --data_dir=D --batch_size=64 \\
    --steps=3000 --eval_every=500 --rnn.cell=gru                             (1.70; --rnn.cell=rnn, vanilla cells, 1.76)
python -m experiments.sequence.char_rnn --dataset=melodies --prompt=C --stop=.               (to listen to; not run)
python -m experiments.sequence.char_rnn --dataset=file --data_dir=PATH --prompt="Once "     (not run)

`--batch_size` is the number of streams that the text is read in, and an "epoch" of the log is one step. The test text
of shakespeare is its last tenth.
"""

from functools import partial

from dlcore.data.texts import Text, TextStreams
from dlcore.experiment import Experiment, Measure, Sanity, Steps
from dlcore.main import main
from dlcore.models import Network
from dlcore.optim import AdamW
from dlcore.sequence import char_rnn
from dlcore.sequence.networks import CharRNN
from dlcore.sequence.text_samples import TextSamples, log_characters, num_characters
from experiments.smoke import few_steps

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(char_rnn.learner, chunk_length=64),
    data=TextStreams(Text("pages", valid_fraction=0.1)),
    network=Network(partial(CharRNN, hidden_size=256, cell="lstm"), of_run=num_characters, prefix="rnn"),
    optimizer=AdamW(
        optimizer="adam", learning_rate=5e-3, schedule="cosine", warmup=0.05, weight_decay=0.0, clip_norm=1.0
    ),
    length=Steps(300, batch_size=16, eval_batch_size=16, eval_every=50),
    measures=[Measure("loss", mode="min")],
    report=[TextSamples(prompt="The ", temperatures=(0.0, 0.5, 1.0))],
    sanity=Sanity(expected_loss=log_characters),
    smoke={
        **few_steps(4),
        "rnn.hidden_size": 16,
        "chunk_length": 16,
        "sample_length": 20,
        "eval_streams": 8,
        "eval_batch_size": 8,
    },
)

if __name__ == "__main__":
    main(experiment)
