"""Knowledge distillation: train a small network on the predictions of a larger one; here below an SVM on pixels.

python -m experiments.classification.distillation                                (96.1 %, three seeds)
python -m experiments.classification.distillation --kind=soft                    (96.3 %)
python -m experiments.classification.distillation --teacher_weight=0             (95.6 %: the student without a teacher)
python -m experiments.classification.distillation --network=runs/classification.supervised/HASH

The teacher is a run of experiments.classification.supervised, or any other classifier of the same classes. Without
`--network` a small ResNet is trained first, which reaches 97.6 %.
"""

from dlcore.classification import distillation
from dlcore.data.images import Augmentation, Images, Resizing
from dlcore.evaluators.accuracy import PLAIN, Accuracy, log_classes
from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.main import main
from dlcore.models import Zoo
from dlcore.optim import AveragedAdamW
from dlcore.report import classifier_panels
from dlcore.report.prediction import ClassifyImages
from dlcore.weights.small_classifier import Teacher
from experiments.classification import supervised

experiment = Experiment(
    __file__,
    __doc__,
    technique=distillation.learner,
    data=Images("digits", valid_fraction=0.1, resizing=Resizing(), augmentation=Augmentation("auto")),
    network=Zoo("mlp"),
    optimizer=AveragedAdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=0.05),
    length=Epochs(60, batch_size=128, eval_every=50, select="last"),
    measures=[Accuracy()],
    report=[classifier_panels.panels],
    use=ClassifyImages(),
    start=Teacher(classifier=supervised.experiment, network_steps=1000),
    sanity=Sanity(expected_loss=log_classes, plain=PLAIN),
    smoke={"steps": 5, "batch_size": 32, "eval_every": 5, "eval_batch_size": 500, "network_steps": 2},
)

if __name__ == "__main__":
    main(experiment)
