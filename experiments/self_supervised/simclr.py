"""SimCLR: learn features by a contrastive loss between two augmented views of each image.

python -m experiments.self_supervised.simclr
python -m experiments.self_supervised.simclr --dataset=fashion_mnist --data_dir=D --model.stem_stride=2 \\
    --model.width=16 --steps=1200 --eval_every=600
python -m experiments.self_supervised.simclr --dataset=cifar10 --data_dir=D --model.width=32 --steps=800 \\
    --eval_every=400

The second command reaches k-NN 78.4 % (69.6 % before training) and probe 81.1 % (72.7 %), the mean of three seeds; with
`--optimizer=lars --learning_rate=1.0`, as in the paper, k-NN 77.5 % (69.3 %) and probe 78.5 % (71.9 %), one seed; the
last k-NN 47.2 % (32.0 %) and probe 53.3 % (39.3 %), one seed, in half an hour.
"""

from functools import partial

from dlcore.data.images import Images, Resizing, Views
from dlcore.evaluators.feature_measures import FeatureMeasures
from dlcore.experiment import Experiment, Steps
from dlcore.main import main
from dlcore.models import Zoo
from dlcore.optim import AdamW
from dlcore.self_supervised import simclr
from dlcore.self_supervised.siamese_network import Embedding
from dlcore.weights.start import BackboneWeights
from experiments.smoke import ENCODERS

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(simclr.learner, temperature=0.5),
    data=Images("digits", valid_fraction=0.1, resizing=Resizing(), augmentation=Views("auto"), labels=False),
    network=Embedding(Zoo("resnet8_cifar"), embedder={"head": "mlp_norm", "proj_dim": 64}),
    optimizer=AdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=1e-4),
    length=Steps(400, batch_size=256, eval_every=100, select="last"),
    measures=[FeatureMeasures(bank_size=5000, knn_k=20, fine_tune=(0.01, 0.1), embeddings=True)],
    start=BackboneWeights(),
    smoke=ENCODERS,
)

if __name__ == "__main__":
    main(experiment)
