"""Relative patch prediction: learn features by the position of a patch beside another; here below k-NN on pixels.

python -m experiments.self_supervised.relative_patch                       (pretext 92 %; k-NN 78.8 %, untrained 86.6 %)
python -m experiments.self_supervised.relative_patch --gap=0 --jitter=0 --by_piece=false    (borders may tell; not run)
python -m experiments.self_supervised.relative_patch --dataset=cifar10 --data_dir=D --input_size=33 --model.width=32 \\
    --steps=5000 --fine_tune=500,5000                                                                        (not run)
"""

from functools import partial

from dlcore.data.images import Images, Resizing
from dlcore.evaluators.feature_measures import FeatureMeasures
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.main import main
from dlcore.models import Zoo
from dlcore.optim import AdamW
from dlcore.self_supervised import relative_patch
from dlcore.self_supervised.piece_network import Labels, PieceNetwork, log_labels
from dlcore.weights.start import BackboneWeights
from experiments.smoke import ENCODERS

DIRECTIONS = ("above left", "above", "above right", "left", "right", "below left", "below", "below right")

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(relative_patch.learner, gap=1, jitter=1, by_piece=True),
    data=Images("digits", valid_fraction=0.1, resizing=Resizing(input_size=24), labels=False),
    network=PieceNetwork(
        Zoo("resnet8_cifar"),
        Labels(relative_patch.relative_patch, relative_patch.NUM_CLASSES, DIRECTIONS, nearest=True),
        head={"hidden": 256, "side": 2},
    ),
    optimizer=AdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=1e-4),
    length=Steps(2000, batch_size=128, eval_every=200, select="last"),
    measures=[FeatureMeasures(bank_size=5000, knn_k=20, fine_tune=(0.01, 0.1))],
    start=BackboneWeights(),
    sanity=Sanity(expected_loss=log_labels, tolerance=0.5),
    smoke=ENCODERS,
)

if __name__ == "__main__":
    main(experiment)
