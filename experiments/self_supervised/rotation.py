"""RotNet: learn features by predicting the rotation of an image; here below k-NN on pixels.

python -m experiments.self_supervised.rotation                             (pretext 88 %; k-NN 53.6 %, untrained 82.0 %)
python -m experiments.self_supervised.rotation --dataset=fashion_mnist --data_dir=D --model.stem_stride=2 \\
    --model.width=16 --steps=2500 --fine_tune=500,5000             (pretext 98.7 %; probe 78.1 %, untrained 72.7 %)

On digits not every turn can be told: 0, 1 and 8 look the same upside down, and 6 is a turned 9. What the pretext needs
is not what tells digits apart: the features become worse than those of the untrained network. On Fashion-MNIST three
seeds give k-NN 71.4 % (untrained 69.6), and 79.1 % fine-tuned with 500 labels (from untrained weights 76.5).
"""

from dlcore.data.images import Images, Resizing
from dlcore.evaluators.feature_measures import FeatureMeasures
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.main import main
from dlcore.models import Zoo
from dlcore.optim import AdamW
from dlcore.self_supervised import rotation
from dlcore.self_supervised.piece_network import Labels, PieceNetwork, log_labels
from dlcore.weights.start import BackboneWeights
from experiments.smoke import ENCODERS

experiment = Experiment(
    __file__,
    __doc__,
    technique=rotation.learner,
    data=Images("digits", valid_fraction=0.1, resizing=Resizing(), labels=False),
    network=PieceNetwork(
        Zoo("resnet8_cifar"),
        Labels(lambda: rotation.rotation, rotation.NUM_CLASSES, ("0°", "90°", "180°", "270°")),
        head={"hidden": 0, "side": 1},
    ),
    optimizer=AdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=1e-4),
    length=Steps(1000, batch_size=128, eval_every=200, select="last"),
    measures=[FeatureMeasures(bank_size=5000, knn_k=20, fine_tune=(0.01, 0.1))],
    start=BackboneWeights(),
    sanity=Sanity(expected_loss=log_labels, tolerance=0.5),
    smoke=ENCODERS,
)

if __name__ == "__main__":
    main(experiment)
