"""MoCo (momentum contrast): learn features by a contrastive loss with a queue of negatives.

python -m experiments.self_supervised.moco                   (version 2; k-NN 96.8 %, the untrained encoder 82.0)
python -m experiments.self_supervised.moco --embedder.head=linear --temperature=0.07           (version 1; not run)
python -m experiments.self_supervised.moco --dataset=fashion_mnist --data_dir=D --model.stem_stride=2 \\
    --model.width=16 --queue_size=4096 --steps=1200 --eval_every=600
python -m experiments.self_supervised.moco --dataset=cifar10 --data_dir=D --model.width=32 --queue_size=4096 \\
    --steps=1600 --eval_every=800

The third command reaches k-NN 76.3 % (69.6 % before training) and probe 79.6 % (72.7 %); the last k-NN 43.7 % (32.0 %)
and probe 52.1 % (39.4 %), one seed, in 46 minutes of one core without AVX-512; a run of 800 steps gave k-NN 40.3 %.
"""

from functools import partial

from dlcore.data.images import Images, Resizing, Views
from dlcore.evaluators.feature_measures import FeatureMeasures
from dlcore.experiment import Experiment, Steps
from dlcore.main import main
from dlcore.models import Zoo
from dlcore.optim import AdamW
from dlcore.self_supervised import moco
from dlcore.self_supervised.siamese_network import Embedding
from dlcore.weights.start import BackboneWeights
from experiments.smoke import ENCODERS

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(moco.learner, queue_size=1024, key_momentum=0.99, temperature=0.2),
    data=Images("digits", valid_fraction=0.1, resizing=Resizing(), augmentation=Views("auto"), labels=False),
    network=Embedding(
        Zoo("resnet8_cifar"),
        embedder={"head": "mlp", "proj_dim": 64},
        axis_name=None,  # under pmap keys are shuffled over the replicas, each with batch statistics of its own
    ),
    optimizer=AdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=1e-4),
    length=Steps(500, batch_size=128, eval_every=100, select="last"),
    measures=[FeatureMeasures(bank_size=5000, knn_k=20, fine_tune=(0.01, 0.1), embeddings=True)],
    start=BackboneWeights(),
    smoke={**ENCODERS, "queue_size": 48},
)

if __name__ == "__main__":
    main(experiment)
