"""Relative patch prediction: learn features by predicting the position of a patch relative to another.

python -m experiments.self_supervised.relative_patch                       (pretext 92 %; k-NN 78.8 %, untrained 86.6 %)
python -m experiments.self_supervised.relative_patch --gap=0 --jitter=0 --by_piece=false    (borders may tell; not run)
python -m experiments.self_supervised.relative_patch --dataset=cifar10 --data_dir=D --input_size=33 --model.width=32 \\
    --steps=5000 --fine_tune=500,5000                                                                        (not run)
"""

import math
from functools import partial

from dlcore.experiment import Experiment, Setup
from dlcore.kits.self_supervised import pretext_classifiers
from dlcore.main import main
from dlcore.self_supervised import relative_patch

NAMES = ("above left", "above", "above right", "left", "right", "below left", "below", "below right")


def build(setup: Setup):
    return pretext_classifiers.build(relative_patch.learner, setup, relative_patch.NUM_CLASSES)


def task(flags):
    return relative_patch.relative_patch(**flags.group("learner"))


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=relative_patch.learner,
    build=build,
    defaults={**pretext_classifiers.DEFAULTS, "input_size": 24, "head.hidden": 256, "head.side": 2, "steps": 2000},
    expected_loss=lambda setup: math.log(relative_patch.NUM_CLASSES),
    panels=partial(pretext_classifiers.panels, task=task, names=NAMES, nearest=True),
    **pretext_classifiers.SHARED,
)

if __name__ == "__main__":
    main(experiment)
