"""Knowledge distillation: train a small network on the predictions of a larger one.

python -m experiments.classification.distillation                                (96.1 %, three seeds)
python -m experiments.classification.distillation --kind=soft                    (96.3 %)
python -m experiments.classification.distillation --teacher_weight=0             (95.6 %: the student without a teacher)
python -m experiments.classification.distillation --network=runs/classification.supervised/HASH

The teacher is a run of experiments.classification.supervised, or any other classifier of the same classes. Without
`--network` a small ResNet is trained first, which reaches 97.6 %.
"""

import math

from dlcore.classification import distillation
from dlcore.experiment import Experiment, Setup
from dlcore.kits.images import classifier_panels, known_datasets, labeled_images, prediction
from dlcore.kits.training import backbone, optimizer, pretrained_network
from dlcore.main import main


def teacher_model(setup: Setup):
    # The default teacher is trained by `start`, so that --mode=plan need not train it.
    found = pretrained_network.teacher_origin(setup.flags)
    if found is None:
        return pretrained_network.default_model(setup.flags, num_classes=setup.spec["num_classes"], dtype=setup.dtype)
    pretrained_network.check_fits(found, channels=channels_of(setup), class_names=setup.spec["class_names"])
    return pretrained_network.model_of(found)


def channels_of(setup: Setup):
    # Those of the network's input: gray images fill the channels of a teacher of colors.
    return len(setup.spec["mean"])


def load_teacher(setup: Setup) -> pretrained_network.TrainedNetwork:
    source = pretrained_network.find_or_train(setup.flags)
    return pretrained_network.load_network(source, channels=channels_of(setup), class_names=setup.spec["class_names"])


def build(setup: Setup):
    learner = distillation.learner(
        model=backbone.build(setup),
        teacher=teacher_model(setup),
        optimizer=optimizer.build(setup),
        preprocess=labeled_images.preprocess(setup),
        augment=labeled_images.augmentation(setup.flags, setup.spec),
        **setup.flags.group("learner"),
    )
    return optimizer.evaluate_ema(learner, setup)


TEACHER = pretrained_network.SETTINGS["network"]._replace(origin=pretrained_network.teacher_origin)


def start(setup: Setup):
    return lambda state: state.replace(teacher=load_teacher(setup).variables)


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=distillation.learner,
    data=labeled_images.data,
    build=build,
    model="mlp",
    settings={**labeled_images.SETTINGS, **optimizer.SETTINGS, **pretrained_network.SETTINGS, "network": TEACHER},
    defaults={"epochs": 60.0, "eval_every": 50, "select": "last", "network_steps": 1000},
    smoke={"steps": 5, "batch_size": 32, "eval_every": 5, "eval_batch_size": 500, "network_steps": 2},
    expected_loss=lambda setup: math.log(setup.spec["num_classes"]),
    plain=classifier_panels.PLAIN,
    planned=known_datasets.describe_known_dataset,
    inputs=prediction.inputs,
    describe=prediction.describe,
    schedule=optimizer.schedule,
    panels=classifier_panels.panels,
    pictures=classifier_panels.pictures,
    start=start,
)

if __name__ == "__main__":
    main(experiment)
