"""Train a small network to answer as a larger one does.

python -m experiments.classification.distillation                                (96.1 %, three seeds)
python -m experiments.classification.distillation --kind=soft                    (96.3 %)
python -m experiments.classification.distillation --teacher_weight=0             (95.6 %: the student without a teacher)
python -m experiments.classification.distillation --network=runs/classification.supervised/HASH

The teacher is a run of experiments.classification.supervised; without `--network` a small ResNet is trained first,
which has 97.6 %.
"""

import math

from dlcore.classification import distillation
from dlcore.experiment import Experiment, Setup
from dlcore.kits import backbone, classification, images, optimizer, trained_network
from dlcore.kits.trained_network import load_network, trained_run
from dlcore.main import main
from dlcore.models import create_model


def teacher(setup: Setup):
    """The teacher's model: that of `--network`, or the small one that will be trained."""
    if setup.flags.network is not None:
        return load_network(setup.flags.network).model
    fields = {"num_classes": setup.spec["num_classes"], "dtype": setup.dtype}
    return create_model("resnet8_cifar", width=16, stem_stride=2, **fields)


def start(setup: Setup):
    """Put the trained teacher in the state."""
    return lambda state: state.replace(teacher=load_network(trained_run(setup.flags)).variables)


def build(setup: Setup):
    learner = distillation.learner(
        model=backbone.build(setup),
        teacher=teacher(setup),
        optimizer=optimizer.build(setup),
        preprocess=images.preprocess(setup),
        augment=images.augmentation(setup.flags, setup.spec),
        axis=setup.axis,
        **setup.flags.group("learner"),
    )
    return optimizer.averaged(learner, setup)


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=distillation.learner,
    data=images.data,
    build=build,
    model="mlp",
    settings={**images.SETTINGS, **optimizer.SETTINGS, **trained_network.SETTINGS},
    defaults={"epochs": 60.0, "eval_every": 50, "select": "last", "network_steps": 1000},
    smoke={"steps": 5, "batch_size": 32, "log_every": 1, "eval_every": 5, "network_steps": 2},
    expected_loss=lambda setup: math.log(setup.spec["num_classes"]),
    plain={"augment": "none", "label_smoothing": 0.0, "weight_decay": 0.0, "ema": None},
    example=images.example,
    planned=images.planned,
    inputs=images.inputs,
    describe=classification.describe,
    panels=classification.panels,
    pictures=classification.pictures,
    start=start,
)

if __name__ == "__main__":
    main(experiment)
