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

from functools import partial

from dlcore.classification import supervised
from dlcore.data.images import Augmentation, Images, Resizing
from dlcore.evaluators.accuracy import PLAIN, Accuracy, log_classes
from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.main import main
from dlcore.models import Zoo
from dlcore.optim import AveragedAdamW
from dlcore.report import classifier_panels
from dlcore.report.prediction import ClassifyImages
from dlcore.weights.start import ClassifierWeights

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(supervised.learner, label_smoothing=0.1),
    data=Images("digits", valid_fraction=0.1, resizing=Resizing(), augmentation=Augmentation("auto")),
    network=Zoo("resnet8_cifar"),
    optimizer=AveragedAdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=0.05, ema=0.99),
    length=Epochs(150, batch_size=128, eval_every=50, select="last"),
    measures=[Accuracy()],
    report=[classifier_panels.panels],
    use=ClassifyImages(),
    start=ClassifierWeights(),
    sanity=Sanity(expected_loss=log_classes, plain=PLAIN, regularizer="l2", overfit=1e-2),
    smoke={"steps": 5, "batch_size": 32, "eval_every": 5, "eval_batch_size": 500, "model.width": 8},
)

if __name__ == "__main__":
    main(experiment)
