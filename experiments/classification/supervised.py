"""Train a small ResNet on handwritten digits.

python -m experiments.classification.supervised        (99.1 % in 70 s on two cores)
python -m experiments.classification.supervised --dataset=mnist --data_dir=D --epochs=4 --eval_every=422  (99.4 %)
python -m experiments.classification.supervised --dataset=mnist --data_dir=D --model=lenet5 --epochs=8 --eval_every=422
python -m experiments.classification.supervised --dataset=fashion_mnist --data_dir=D --model=resnet8_cifar \\
    --model.width=48 --model.stem_stride=2 --augment=none --epochs=6 --eval_every=422                      (93.0 %)
python -m experiments.classification.supervised --dataset=folder --data_dir=PATH
python -m experiments.classification.supervised --schedule=plateau          (ReduceLROnPlateau; not run for the ledger)

LeNet-5, the third command, reaches 99.2 %.
"""

import math

from dlcore.classification import supervised
from dlcore.experiment import Experiment, Setup
from dlcore.kits.images import classifier_panels, known_datasets, labeled_images, prediction
from dlcore.kits.training import backbone, optimizer
from dlcore.main import main


def build(setup: Setup):
    learner = supervised.learner(
        model=backbone.build(setup),
        optimizer=optimizer.build(setup),
        preprocess=labeled_images.preprocess(setup),
        augment=labeled_images.augmentation(setup.flags, setup.spec),
        **setup.flags.group("learner"),
    )
    return optimizer.evaluate_ema(learner, setup)


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=supervised.learner,
    data=labeled_images.data,
    build=build,
    model="resnet8_cifar",
    settings={**labeled_images.SETTINGS, **optimizer.SETTINGS, **backbone.SETTINGS},
    defaults={"epochs": 150.0, "label_smoothing": 0.1, "ema": 0.99, "eval_every": 50, "select": "last"},
    smoke={"steps": 5, "batch_size": 32, "eval_every": 5, "eval_batch_size": 500, "model.width": 8},
    expected_loss=lambda setup: math.log(setup.spec["num_classes"]),
    plain=classifier_panels.PLAIN,
    regularizer="l2",
    overfit=1e-2,
    planned=known_datasets.describe_known_dataset,
    inputs=prediction.inputs,
    describe=prediction.describe,
    start=backbone.start,
    schedule=optimizer.schedule,
    panels=classifier_panels.panels,
    pictures=classifier_panels.pictures,
)

if __name__ == "__main__":
    main(experiment)
