"""BERT: masked language modeling of characters.

python -m experiments.sequence.masked_language_model                                     (a few embedded pages: 44.6 %)
python -m experiments.sequence.masked_language_model --dataset=shakespeare --data_dir=D --steps=3000 \\
    --eval_every=500                                                                        (60.1 %; 11 min on one core)

The accuracy is that of the hidden characters, 15 % of a text. The report shows it beside those of the most frequent
character and of a table of what stood most often between the same two neighbors, which sees both of them unhidden:
14.9 % and 46.9 % on Shakespeare, 18.4 % and 45.7 % on the pages.

The window is short because the first thing to learn is to look at a hidden character's neighbors: attention starts out
spread over the window, and with 64 characters the accuracy of 600 steps was still 21 %.
"""

from functools import partial

from dlcore.data.texts import Text
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.main import main
from dlcore.models import Network
from dlcore.models.bert import BERT
from dlcore.optim import AdamW
from dlcore.sequence import masked_language_model
from dlcore.sequence.masked_texts import HiddenCharacters, MaskedTexts, log_tokens, masked_sizes
from experiments.smoke import few_steps

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(masked_language_model.learner, mask_rate=0.15),
    data=MaskedTexts(Text("pages", valid_fraction=0.1), window=16),
    network=Network(
        partial(BERT, num_layers=2, num_heads=4, width=128, mlp_features=512, dropout=0.0),
        of_run=masked_sizes,
        prefix="model",
        external=("head",),
    ),
    optimizer=AdamW(learning_rate=1e-3, schedule="cosine", warmup=0.05, weight_decay=0.05, clip_norm=1.0),
    length=Steps(800, batch_size=256, eval_batch_size=256, eval_every=100),
    measures=[HiddenCharacters()],
    sanity=Sanity(expected_loss=log_tokens),
    smoke={
        **few_steps(4),
        "model.num_layers": 1,
        "model.num_heads": 2,
        "model.width": 16,
        "model.mlp_features": 32,
        "window": 16,
    },
)

if __name__ == "__main__":
    main(experiment)
