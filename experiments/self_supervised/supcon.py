"""SupCon: learn features by a contrastive loss whose positives are all images of the same label.

python -m experiments.self_supervised.supcon      (k-NN 99.1 %, three seeds, untrained 82.0; rank 19.8, untrained 7.6)

It uses the labels of all training images: compare its k-NN with those of techniques that use none.
"""

from functools import partial

from dlcore.data.images import Images, Resizing, Views
from dlcore.evaluators.feature_measures import FeatureMeasures
from dlcore.experiment import Experiment, Steps
from dlcore.main import main
from dlcore.models import Zoo
from dlcore.optim import AdamW
from dlcore.self_supervised import supcon
from dlcore.self_supervised.siamese_network import Siamese
from dlcore.weights.start import BackboneWeights
from experiments.smoke import ENCODERS

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(supcon.learner, temperature=0.1),
    data=Images("digits", valid_fraction=0.1, resizing=Resizing(), augmentation=Views("auto"), labels=False),
    network=Siamese(Zoo("resnet8_cifar"), head={"proj_dim": 64, "hidden_features": 256, "predictor_features": 0}),
    optimizer=AdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=1e-4),
    length=Steps(400, batch_size=128, eval_every=100, select="last"),
    measures=[FeatureMeasures(bank_size=5000, knn_k=20, fine_tune=(0.01, 0.1), embeddings=True, uses_labels=True)],
    start=BackboneWeights(),
    smoke={**ENCODERS, "head.hidden_features": 8, "head.proj_dim": 4},
)

if __name__ == "__main__":
    main(experiment)
