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

from dlcore.experiment import Experiment, Flags
from dlcore.kits.self_supervised.queue import check_queue
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.self_supervised import moco
from dlcore.tasks.encoders import SMOKE
from dlcore.tasks.unlabeled_images import TwoViews


class ViewsAndQueue(TwoViews):
    """Two views of each image, and a queue of negatives."""

    # Under pmap batch statistics stay on their replica, and keys are shuffled over the replicas.
    axis_name = None

    def check(self, flags: Flags) -> None:
        """Raise a FlagError where the queue is smaller than a batch, or larger than memory."""
        super().check(flags)
        check_queue(flags, flags["embedder.proj_dim"])


experiment = Experiment(
    __file__,
    __doc__,
    moco.learner,
    task=ViewsAndQueue(),
    optimizer=AdamW(weight_decay=1e-4),
    defaults={"steps": 500, "batch_size": 128, "queue_size": 1024, "key_momentum": 0.99, "temperature": 0.2},
    smoke={**SMOKE, "queue_size": 48},
)

if __name__ == "__main__":
    main(experiment)
