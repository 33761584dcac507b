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

from dlcore.experiment import Experiment, Setup
from dlcore.kits.self_supervised import encoders
from dlcore.main import main
from dlcore.self_supervised import simclr
from dlcore.self_supervised.networks import Embedder


def build(setup: Setup):
    return encoders.build(simclr.learner, setup)


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=simclr.learner,
    build=build,
    modules={"embedder": partial(Embedder, head="mlp_norm")},
    defaults={**encoders.DEFAULTS, "steps": 400, "batch_size": 256},
    smoke=encoders.SMOKE,
    **encoders.CONTRASTIVE,
)

if __name__ == "__main__":
    main(experiment)
