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

import dataclasses

from dlcore.classification import supervised
from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.labeled_images import PretrainedClassification


@dataclasses.dataclass(frozen=True)
class SupervisedClassification(PretrainedClassification):
    """Labeled images and published weights; the loss of a classifier goes to 0, and l2 penalizes weights."""

    regularizer = "l2"
    overfit = 1e-2


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=supervised.learner,
    task=SupervisedClassification(),
    optimizer=AveragedAdamW(),
    model="resnet8_cifar",
    defaults={"epochs": 150.0, "label_smoothing": 0.1, "ema": 0.99, "eval_every": 50, "select": "last"},
    smoke={"steps": 5, "batch_size": 32, "eval_every": 5, "eval_batch_size": 500, "model.width": 8},
)

if __name__ == "__main__":
    main(experiment)
