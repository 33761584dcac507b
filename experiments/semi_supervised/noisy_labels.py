"""Learning with label noise: 40 % of the training labels are wrong; here below k-NN.

python -m experiments.semi_supervised.noisy_labels           (85.2 %; cross-entropy 77.2 stopped early, 65.4 to the end)
python -m experiments.semi_supervised.noisy_labels --technique=co_teaching
python -m experiments.semi_supervised.noisy_labels --technique=forward
python -m experiments.semi_supervised.noisy_labels --noise=asymmetric --noise_rate=0.3 --technique=forward
python -m experiments.semi_supervised.noisy_labels --dataset=fashion_mnist --data_dir=D --augment=none \\
    --model.stem_stride=2 --model.width=32 --steps=14000 --batch_size=128 --eval_every=1000

The first command reaches 84.0 %, where plain cross-entropy ends at 69.0 % and has 77.6 % where it is stopped early, by
true labels of the validation split (one seed). On Fashion-MNIST the last reaches 88.6 %: cross-entropy ends at 58.9 %,
and has 87.9 % where it is stopped early. The others were not run.
"""

from dlcore.data.images import Augmentation, Images, Resizing
from dlcore.evaluators.accuracy import PLAIN
from dlcore.evaluators.accuracy_beside_cross_entropy import (
    AccuracyBesideCrossEntropy,
    log_classes_of_networks,
    technique_panels,
)
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.main import main
from dlcore.models import Zoo
from dlcore.optim import AdamW
from dlcore.report.prediction import ClassifyImages
from dlcore.semi_supervised import noisy_labels
from dlcore.semi_supervised.noisy_images import NoisyImages
from dlcore.weights.all_networks import AllNetworkWeights

experiment = Experiment(
    __file__,
    __doc__,
    technique=noisy_labels.learner,
    data=NoisyImages(
        Images("digits", valid_fraction=0.1, resizing=Resizing(), augmentation=Augmentation("none")),
        noise="symmetric",
        noise_rate=0.4,
    ),
    network=Zoo("resnet8_cifar", {"width": 8}),
    optimizer=AdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=1e-4),
    length=Steps(600, batch_size=64, eval_every=50, select="last"),
    measures=[AccuracyBesideCrossEntropy()],
    report=[technique_panels],
    use=ClassifyImages(),
    start=AllNetworkWeights(),
    sanity=Sanity(expected_loss=log_classes_of_networks, plain={**PLAIN, "noise_rate": 0.0}),
    smoke={
        "model.stages": (1,),
        "model.width": 8,
        "q": 0.3,
        "learning_rate": 0.01,
        "steps": 2,
        "batch_size": 32,
        "eval_every": 1,
        "eval_batch_size": 500,
    },
)

if __name__ == "__main__":
    main(experiment)
