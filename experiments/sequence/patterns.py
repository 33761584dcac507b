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

from functools import partial

from dlcore.experiment import Experiment, Measure, Steps
from dlcore.main import main
from dlcore.models import Network
from dlcore.optim import AveragedAdamW
from dlcore.sequence import patterns
from dlcore.sequence.pattern_problems import PatternProblems, answer_sizes, pattern_panels
from experiments.smoke import few_steps

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(patterns.learner, pattern="many_to_one"),
    data=PatternProblems(train_size=8000, test_size=1000),
    network=Network(
        partial(patterns.PatternNet, hidden_size=64, num_layers=1, cell="gru"), of_run=answer_sizes, prefix="rnn"
    ),
    optimizer=AveragedAdamW(
        optimizer="adam", learning_rate=5e-3, schedule="cosine", warmup=0.1, weight_decay=0.0, clip_norm=1.0
    ),
    length=Steps(1500, batch_size=64, eval_every=250),
    measures=[Measure("loss", mode="min")],
    report=[pattern_panels],
    smoke={**few_steps(4), "train_size": 32, "test_size": 8, "eval_batch_size": 8, "rnn.hidden_size": 8},
)

if __name__ == "__main__":
    main(experiment)
