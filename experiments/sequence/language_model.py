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

import math

from dlcore.experiment import Experiment, Setup
from dlcore.kits.sequence import text_streams
from dlcore.kits.training import optimizer
from dlcore.main import main
from dlcore.models.gpt2 import GPT2
from dlcore.sequence import language_model


def build(setup: Setup):
    flags = setup.flags
    learner = language_model.learner(
        model=GPT2(len(setup.spec["vocabulary"]), flags.window, **flags.group("model"), dtype=setup.dtype),
        optimizer=optimizer.build(setup),
        stop_token=text_streams.stop_token(flags, setup.spec),
        **flags.group("learner"),
    )
    return optimizer.evaluate_ema(learner, setup)


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=language_model.learner,
    data=text_streams.window_data,
    build=build,
    modules={"model": GPT2},
    settings={
        **{name: setting for name, setting in text_streams.SETTINGS.items() if name != "eval_streams"},
        **text_streams.WINDOW_SETTINGS,
        **optimizer.SETTINGS,
    },
    defaults={
        "model.num_layers": 4,
        "model.num_heads": 4,
        "model.width": 128,
        "model.dropout": 0.2,
        "learning_rate": 1e-3,
        "second_momentum": 0.99,
        "warmup": 0.05,
        "weight_decay": 0.1,
        "clip_norm": 1.0,
        "steps": 2000,
        "batch_size": 12,
        "eval_batch_size": 64,
        "eval_every": 250,
    },
    smoke={
        "model.num_layers": 2,
        "model.num_heads": 2,
        "model.width": 16,
        "window": 16,
        "steps": 4,
        "batch_size": 8,
        "sample_length": 24,
        "eval_every": 4,
    },
    monitor="loss",
    monitor_mode="min",
    headline="loss",
    expected_loss=lambda setup: math.log(len(setup.spec["vocabulary"])),
    inputs=text_streams.inputs,
    input_kind="PROMPT_OR_FILE",
    describe=text_streams.describe,
    schedule=optimizer.schedule,
    panels=text_streams.window_panels,
)

if __name__ == "__main__":
    main(experiment)
