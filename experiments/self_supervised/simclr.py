"""Learn features of images without labels by SimCLR, and see what k-NN and a linear probe can read off them.

python -m experiments.self_supervised.simclr
python -m experiments.self_supervised.simclr --dataset=fashion_mnist --data_dir=D --model.stem_stride=2 \\
    --model.width=16 --steps=1200 --eval_every=600

The last command reaches k-NN 78.4 % (69.6 % before training) and probe 81.1 % (72.7 %), the mean of three seeds. k-NN
and probe of the same net before training stand beside them in the log and the report.
"""

from dlcore.experiment import Experiment, Setup
from dlcore.kits import images, optimizer, self_supervised
from dlcore.main import main
from dlcore.self_supervised import simclr


def build(setup: Setup):
    return simclr.learner(
        model=self_supervised.embedder(setup, "mlp_norm", setup.axis),
        optimizer=optimizer.build(setup),
        augment=self_supervised.augmentation(setup.flags),
        preprocess=images.preprocess(setup),
        axis=setup.axis,
        **setup.flags.group("learner"),
    )


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=simclr.learner,
    data=images.data,
    build=build,
    model="resnet8_cifar",
    settings=self_supervised.SETTINGS,
    defaults={
        "steps": 400,
        "batch_size": 256,
        "eval_every": 100,
        "weight_decay": 1e-4,
        "select": "last",
    },
    smoke={
        "steps": 2,
        "batch_size": 32,
        "log_every": 1,
        "eval_every": 2,
        "model.width": 4,
        "bank": 100,
        "neighbors": 5,
    },
    monitor="knn",
    headline="knn",
    example=images.example,
    evaluators=self_supervised.evaluators,
    panels=self_supervised.panels,
)

if __name__ == "__main__":
    main(experiment)
