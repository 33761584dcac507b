"""Train a small network to answer as a larger one does.

python -m experiments.classification.distillation                                (96.1 %, three seeds)
python -m experiments.classification.distillation --kind=soft                    (96.3 %)
python -m experiments.classification.distillation --teacher_weight=0             (95.6 %: the student without a teacher)
python -m experiments.classification.distillation --classifier=runs/classification.supervised/HASH

The teacher is a run of experiments.classification.supervised; without `--classifier` a small ResNet is trained first,
which has 97.6 %.
"""

import math

from dlcore.classification import distillation
from dlcore.models import create_model
from dlcore.optim import use_ema
from dlcore.run import classifier, classify
from dlcore.run.known import planned
from dlcore.run.page import Job, Page, Setup, main, resolve
from experiments.classification import supervised


def teacher(setup: Setup):
    """The teacher's model: that of the run given, or the small one that will be trained."""
    folder = setup.flags.classifier
    if folder is None:
        fields = {"num_classes": setup.spec["num_classes"], "dtype": setup.dtype}
        return create_model("resnet8_cifar", width=16, stem_stride=2, **fields)
    job = Job(supervised.page, resolve(supervised.page, [f"--run={folder}"]))
    config = job.config()
    if config is None:
        raise ValueError(f"classifier={folder!r} holds no run of {supervised.page.name}")
    return classify.model(job.setup(config["spec"]))


def start(setup: Setup):
    """Put the trained teacher in the state."""

    def replace(state):
        folder = classifier.run_for(setup.flags, supervised.page)
        return state.replace(teacher=classifier.classifier_of_run(folder, supervised.page)[1])

    return replace


def build(setup: Setup):
    learner = distillation.learner(
        model=classify.model(setup),
        teacher=teacher(setup),
        optimizer=classify.optimizer(setup),
        preprocess=classify.preprocess(setup),
        augment=classify.augmentation(setup.flags, setup.spec),
        axis=setup.axis,
        **setup.flags.group("learner"),
    )
    return use_ema(learner) if setup.flags.ema else learner


page = Page(
    file=__file__,
    doc=__doc__,
    learner=distillation.learner,
    data=classify.data,
    build=build,
    model="mlp",
    settings={**classify.DATA_SETTINGS, **classify.OPTIMIZER_SETTINGS, **classifier.SETTINGS},
    defaults={"epochs": 60.0, "eval_every": 50, "select": "last", "classifier_steps": 1000},
    smoke={"steps": 5, "batch_size": 32, "log_every": 1, "eval_every": 5, "classifier_steps": 2},
    expected_loss=lambda setup: math.log(setup.spec["num_classes"]),
    plain={"augment": "none", "label_smoothing": 0.0, "weight_decay": 0.0, "ema": None},
    example=classify.example,
    planned=planned,
    inputs=classify.inputs,
    describe=classify.describe,
    panels=classify.panels,
    pictures=classify.pictures,
    start=start,
)

if __name__ == "__main__":
    main(page)
