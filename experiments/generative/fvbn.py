"""Fully visible belief networks of digits with exact likelihood: MADE, NADE, or a chain of logistic regressions.

python -m experiments.generative.fvbn                                                        (22.5 nats, half a minute)
python -m experiments.generative.fvbn --model=nade
python -m experiments.generative.fvbn --model=fvbn
python -m experiments.generative.fvbn --conditional --levels=16
python -m experiments.generative.fvbn --dataset=mnist --data_dir=D --epochs=90 --batch_size=256      (89.6 nats, 7 min)
python -m experiments.generative.fvbn --mode=predict --run=RUN --output=FOLDER
python -m experiments.generative.fvbn --mode=predict --run=RUN --input=IMAGE --output=FOLDER

The last two write samples, and completions of the upper half of your image. `nll_nats_dynamic` is -log p of a test
image in nats, of pixels that were binarized anew; independent pixels have 26.9 on the digits and 205.8 on MNIST. The
other models were not run in full.
"""

from typing import Literal

from dlcore.experiment import Experiment, Setting, Setup
from dlcore.generative.fvbn import FVBN, MADE, NADE
from dlcore.kits.generative import pixel_sequences, sample_panels
from dlcore.main import main

MODELS = {"made": MADE, "nade": NADE, "fvbn": FVBN}


def build(setup: Setup):
    name = setup.flags.model
    fields = {} if name == "fvbn" else setup.flags.group(name)
    return pixel_sequences.build(setup, MODELS[name], dtype=setup.dtype, **fields)


experiment = Experiment(
    **pixel_sequences.PAGE,
    file=__file__,
    doc=__doc__,
    build=build,
    modules={"made": MADE, "nade": NADE},
    settings={
        **pixel_sequences.SETTINGS,
        "model": Setting(
            "made", "made, nade, or fvbn: the chain of logistic regressions", Literal[tuple(MODELS)], essential=True
        ),
    },
    defaults={
        "epochs": 400.0,
        "batch_size": 64,
        "learning_rate": 1e-3,
        "weight_decay": 0.01,
        "ema": 0.999,
        "eval_every": 500,
        "made.hidden_sizes": (256, 256),
        "nade.hidden_size": 128,
    },
    smoke={"steps": 3, "batch_size": 8, "made.hidden_sizes": (16,), "nade.hidden_size": 8, "eval_every": 3},
    report_hooks=lambda setup: sample_panels.film_of_samples(build, setup),
)

if __name__ == "__main__":
    main(experiment)
