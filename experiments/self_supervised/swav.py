"""SwAV: predict one crop's assignment to prototypes from another. Crops of 8x8 digits hide too much, and k-NN falls.

python -m experiments.self_supervised.swav                               (k-NN 71.0 %, three seeds: untrained 81.4)
python -m experiments.self_supervised.swav --epsilon=0.005 --head.outputs=16 --queue_size=0 --freeze=0      (65.8 %)

The method does not help on the digits: crops of 8x8 pixels hide most of a digit, and 1,300 images in batches of 64 say
little of how prototypes should share them. Six settings of one seed ended between 65.8 and 76.2 %. With a large
`--epsilon` the codes become uniform (`code_entropy` 1: they say nothing), and with a small one the loss falls from 3.7
to 2.2, but the features become worse. Watch `usage` too (the mean prediction's entropy by its largest: 0 is one
prototype for all images). As with DINO, a small network needs prototypes that stand still (`--freeze`, in epochs).
"""

from dlcore.experiment import Experiment, Flags
from dlcore.experiment.setting import FlagError
from dlcore.kits.self_supervised.queue import check_queue
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.self_supervised import swav
from dlcore.tasks.encoders import SMOKE
from dlcore.tasks.image_crops import MultiCrops


class CropsAndQueues(MultiCrops):
    """Large and small crops of each image, and queues of past images."""

    def check(self, flags: Flags) -> None:
        """Raise a FlagError where a queue is smaller than a batch or larger than memory, or prototypes are too many."""
        super().check(flags)
        if flags.queue_size:
            check_queue(flags, 2 * flags["head.bottleneck"])
        images = flags.batch_size + flags.queue_size
        if flags["head.outputs"] > images:
            raise FlagError(
                f"--head.outputs={flags['head.outputs']}: more prototypes than the {images} images of a batch and a "
                f"queue; allowed: at most {images}"
            )


experiment = Experiment(
    __file__,
    __doc__,
    swav.learner,
    task=CropsAndQueues(freeze=100.0, global_area=(0.7, 1.0), local_area=(0.4, 0.8)),
    optimizer=AdamW(learning_rate=1e-3, weight_decay=1e-4),
    defaults={
        "head.outputs": 64,
        "head.hidden_features": 128,
        "head.bottleneck": 32,
        "head.batch_norm": True,
        "local_crops": 2,
        "queue_size": 512,
        "steps": 500,
        "batch_size": 64,
        "eval_every": 250,
    },
    smoke={
        **SMOKE,
        "head.outputs": 8,
        "head.hidden_features": 8,
        "head.bottleneck": 4,
        "local_crops": 1,
        "queue_size": 32,
    },
)

if __name__ == "__main__":
    main(experiment)
