"""Exemplar CNN: learn features by telling views of each training image apart; here below k-NN on pixels.

python -m experiments.self_supervised.exemplar             (pretext 72 %; k-NN 95.8 %, untrained 81.2 %; 3 min)
python -m experiments.self_supervised.exemplar --dataset=fashion_mnist --data_dir=D --exemplars=2000 \\
    --model.stem_stride=2 --model.width=16 --steps=6000 --fine_tune=200,2000                                 (not run)

Training sees the first --exemplars images alone. `exemplar_accuracy` is that of new views of these images; other images
belong to no exemplar, so that validation and test have no loss.
"""

from dlcore.data.exemplars import ExemplarImages, num_exemplars
from dlcore.data.images import Resizing, Views
from dlcore.evaluators.exemplars import ExemplarAccuracy
from dlcore.evaluators.feature_measures import FeatureMeasures
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.main import main
from dlcore.models import Zoo
from dlcore.optim import AdamW
from dlcore.self_supervised import exemplar
from dlcore.self_supervised.piece_network import Labels, PieceNetwork, log_labels
from dlcore.weights.start import BackboneWeights
from experiments.smoke import ENCODERS

experiment = Experiment(
    __file__,
    __doc__,
    technique=exemplar.learner,
    data=ExemplarImages(
        "digits", valid_fraction=0.1, resizing=Resizing(), augmentation=Views("auto"), labels=False, exemplars=1000
    ),
    network=PieceNetwork(Zoo("resnet8_cifar"), Labels(None, num_exemplars), head={"hidden": 0, "side": 1}),
    optimizer=AdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=1e-4),
    length=Steps(2000, batch_size=128, eval_every=200, select="last"),
    measures=[FeatureMeasures(bank_size=5000, knn_k=20, fine_tune=(0.01, 0.1)), ExemplarAccuracy()],
    start=BackboneWeights(),
    sanity=Sanity(expected_loss=log_labels, tolerance=0.5),
    smoke={**ENCODERS, "exemplars": 100},
)

if __name__ == "__main__":
    main(experiment)
