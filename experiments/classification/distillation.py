"""Knowledge distillation: train a small network on the predictions of a larger one.

python -m experiments.classification.distillation                                (96.1 %, three seeds)
python -m experiments.classification.distillation --kind=soft                    (96.3 %)
python -m experiments.classification.distillation --teacher_weight=0             (95.6 %: the student without a teacher)
python -m experiments.classification.distillation --network=runs/classification.supervised/HASH

The teacher is a run of experiments.classification.supervised, or any other classifier of the same classes. Without
`--network` a small ResNet is trained first, which reaches 97.6 %.
"""

import dataclasses
from typing import Any

from dlcore.classification import distillation
from dlcore.experiment import Experiment, Flags, Setup
from dlcore.kits.training import small_classifier
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.labeled_images import Classification
from dlcore.weights.network import TrainedNetwork, check_fits, load_network, model_of, open_classifier
from experiments.classification.supervised import experiment as supervised

TEACHER = small_classifier.SETTINGS["network"]._replace(origin=lambda flags: teacher_origin(flags))


@dataclasses.dataclass(frozen=True)
class TaughtClassification(Classification):
    """Labeled images, and a trained network whose predictions teach."""

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), **small_classifier.SETTINGS, "network": TEACHER}

    def arguments(self, setup: Setup) -> dict[str, Any]:
        return {**super().arguments(setup), "teacher": teacher_model(setup)}

    def start(self, setup: Setup):
        return lambda state: state.replace(teacher=load_teacher(setup).variables)


def teacher_origin(flags: Flags):
    # Images are normalized as the teacher knows them.
    return None if flags.network is None else open_classifier(flags.network, "network")


def teacher_model(setup: Setup):
    # The default teacher is trained by `start`, so that --mode=plan need not train it.
    teacher_run = teacher_origin(setup.flags)
    if teacher_run is None:
        return small_classifier.default_model(setup.flags, num_classes=setup.spec["num_classes"], dtype=setup.dtype)
    check_fits(teacher_run, channels=channels_of(setup), class_names=setup.spec["class_names"])
    return model_of(teacher_run)


def channels_of(setup: Setup):
    # Those of the network's input: gray images fill the channels of a teacher of colors.
    return len(setup.spec["mean"])


def load_teacher(setup: Setup) -> TrainedNetwork:
    source = small_classifier.find_or_train(setup.flags, supervised)
    return load_network(source, channels=channels_of(setup), class_names=setup.spec["class_names"])


experiment = Experiment(
    __file__,
    __doc__,
    distillation.learner,
    task=TaughtClassification(),
    optimizer=AveragedAdamW(),
    model="mlp",
    defaults={"epochs": 60.0, "eval_every": 50, "select": "last", "network_steps": 1000},
    smoke={"steps": 5, "batch_size": 32, "eval_every": 5, "eval_batch_size": 500, "network_steps": 2},
)

if __name__ == "__main__":
    main(experiment)
