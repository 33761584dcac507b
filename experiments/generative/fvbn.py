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
from dlcore.generative import autoregressive
from dlcore.generative.fvbn import FVBN, MADE, NADE
from dlcore.kits.generative import samples
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.pixel_sequences import PixelSequences, network_arguments

MODELS = {"made": MADE, "nade": NADE, "fvbn": FVBN}


def arguments(setup: Setup) -> dict:
    name = setup.flags.model
    fields = {} if name == "fvbn" else setup.flags.group(name)
    return network_arguments(setup, MODELS[name], **fields)


experiment = Experiment(
    __file__,
    __doc__,
    autoregressive.learner,
    task=PixelSequences(),
    optimizer=AveragedAdamW(learning_rate=1e-3, weight_decay=0.01, ema=0.999),
    arguments=arguments,
    modules={"made": MADE, "nade": NADE},
    settings={
        **samples.SAMPLE_CLASS,
        "model": Setting(
            "made", "made, nade, or fvbn: the chain of logistic regressions", Literal[tuple(MODELS)], essential=True
        ),
    },
    defaults={
        "epochs": 400.0,
        "batch_size": 64,
        "eval_every": 500,
        "made.hidden_sizes": (256, 256),
        "nade.hidden_size": 128,
    },
    smoke={"steps": 3, "batch_size": 8, "made.hidden_sizes": (16,), "nade.hidden_size": 8, "eval_every": 3},
)

if __name__ == "__main__":
    main(experiment)
