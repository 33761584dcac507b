"""GPT: a character-level language model.

python -m experiments.sequence.language_model                (a few embedded pages: test 2.21 nats, 7 min on one core)
python -m experiments.sequence.language_model --dataset=shakespeare --data_dir=D --learning_rate=6e-3 \\
    --model.dropout=0 --eval_every=500 --valid_fraction=0.02 --test_fraction=0.1    (test 1.87 nats, 6 min on one core)
python -m experiments.sequence.language_model --dataset=shakespeare --data_dir=D --window=128 --batch_size=32 \\
    --model.width=160 --model.dropout=0.1 --learning_rate=3e-3 --steps=4000 --eval_every=500 \\
    --valid_fraction=0.02 --test_fraction=0.1                                      (1.64, about 38 min on one core)
python -m experiments.sequence.language_model --mode=predict --run=RUN --input="ROMEO:"        (continues a prompt)
python -m experiments.sequence.language_model --dataset=file --data_dir=PATH --prompt="Once "  (not run)

The settings are nanoGPT's for a CPU (4 blocks of 4 heads and width 128, windows of 64, batches of 12, 2,000 steps), and
dropout, without which the embedded pages are overfitted after 500 steps: 2.31 nats, where counts of characters after
the last two (an order-2 n-gram) have 2.28. nanoGPT's number is 1.88 nats on the last tenth of shakespeare, after
training on all the rest at a learning rate of 1e-3. A row of the training data is two windows long, and an epoch moves
one window in each.
"""

from functools import partial

from dlcore.data.texts import Text, TextWindows
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.main import main
from dlcore.models import Network
from dlcore.models.gpt2 import GPT2
from dlcore.optim import AveragedAdamW
from dlcore.sequence import language_model
from dlcore.sequence.text_samples import ContinuePrompts, LossBesideNgrams, characters_and_window, log_characters
from experiments.smoke import few_steps

experiment = Experiment(
    __file__,
    __doc__,
    technique=language_model.learner,
    data=TextWindows(Text("pages", valid_fraction=0.1), window=64),
    network=Network(
        partial(GPT2, num_layers=4, num_heads=4, width=128, dropout=0.2), of_run=characters_and_window, prefix="model"
    ),
    optimizer=AveragedAdamW(
        learning_rate=1e-3, schedule="cosine", second_momentum=0.99, warmup=0.05, weight_decay=0.1, clip_norm=1.0
    ),
    length=Steps(2000, batch_size=12, eval_batch_size=64, eval_every=250),
    measures=[LossBesideNgrams()],
    use=ContinuePrompts(prompt="The ", temperatures=(0.0, 0.5, 1.0)),
    sanity=Sanity(expected_loss=log_characters),
    smoke={
        **few_steps(4),
        "model.num_layers": 2,
        "model.num_heads": 2,
        "model.width": 16,
        "window": 16,
        "sample_length": 24,
    },
)

if __name__ == "__main__":
    main(experiment)
