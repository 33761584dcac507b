"""SimSiam: learn features by predicting another view's projection, without labels, negatives and a slow target.

python -m experiments.self_supervised.simsiam      (k-NN 96.1 %, three seeds, untrained 81.4; rank 16.9, 7.6)
python -m experiments.self_supervised.simsiam --head.layers=3 --head.norm_output --head.predictor_features=32 \\
    --steps=1000                                                             (the paper's heads; k-NN 73.2 %)
python -m experiments.self_supervised.simsiam --nostop_gradient      (collapse, see experiments.studies.collapse)

The report tells whether the features collapse by their effective rank (`rank`, beside `rank_untrained`).
"""

from dlcore.data.images import Images, Resizing, Views
from dlcore.evaluators.feature_measures import FeatureMeasures
from dlcore.experiment import Experiment, Steps
from dlcore.main import main
from dlcore.models import Zoo
from dlcore.optim import AdamW
from dlcore.self_supervised import simsiam
from dlcore.self_supervised.siamese_network import Siamese
from dlcore.weights.start import BackboneWeights
from experiments.smoke import ENCODERS

experiment = Experiment(
    __file__,
    __doc__,
    technique=simsiam.learner,
    data=Images("digits", valid_fraction=0.1, resizing=Resizing(), augmentation=Views("auto"), labels=False),
    network=Siamese(Zoo("resnet8_cifar"), head={"proj_dim": 64, "hidden_features": 256, "predictor_features": 256}),
    optimizer=AdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=1e-4),
    length=Steps(1500, batch_size=64, eval_every=100, select="last"),
    measures=[FeatureMeasures(bank_size=5000, knn_k=20, fine_tune=(0.01, 0.1), embeddings=True)],
    start=BackboneWeights(),
    smoke={**ENCODERS, "head.hidden_features": 8, "head.proj_dim": 4, "head.predictor_features": 8},
)

if __name__ == "__main__":
    main(experiment)
