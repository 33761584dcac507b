"""BYOL: learn features by predicting a slow average of the same network, without labels and negatives.

python -m experiments.self_supervised.byol      (k-NN 92.7 %, three seeds, untrained 81.4; rank 15.5, 7.6)
python -m experiments.self_supervised.byol --head.predictor_features=0      (collapse, see experiments.studies.collapse)

The report tells whether the features collapse by their effective rank (`rank`, beside `rank_untrained`).
"""

from dlcore.data.images import Images, Resizing, Views
from dlcore.evaluators.feature_measures import FeatureMeasures
from dlcore.experiment import Experiment, Steps
from dlcore.main import main
from dlcore.models import Zoo
from dlcore.optim import AdamW
from dlcore.self_supervised import byol
from dlcore.self_supervised.siamese_network import Siamese
from dlcore.self_supervised.teachers import TargetMomentum
from dlcore.weights.start import BackboneWeights
from experiments.smoke import ENCODERS

experiment = Experiment(
    __file__,
    __doc__,
    technique=byol.learner,
    data=Images("digits", valid_fraction=0.1, resizing=Resizing(), augmentation=Views("auto"), labels=False),
    network=Siamese(
        Zoo("resnet8_cifar"),
        head={"proj_dim": 64, "hidden_features": 256, "predictor_features": 256},
        target=TargetMomentum(0.9),
    ),
    optimizer=AdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=1e-4),
    length=Steps(1000, batch_size=64, eval_every=100, select="last"),
    measures=[FeatureMeasures(bank_size=5000, knn_k=20, fine_tune=(0.01, 0.1), embeddings=True)],
    start=BackboneWeights(),
    smoke={**ENCODERS, "head.hidden_features": 8, "head.proj_dim": 4, "head.predictor_features": 8},
)

if __name__ == "__main__":
    main(experiment)
