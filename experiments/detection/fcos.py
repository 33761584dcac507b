"""Detect colored shapes, or the classes of a data set in COCO's format, with FCOS on a feature pyramid.

python -m experiments.detection.fcos        (mAP@[.5:.95] 0.87 on test scenes, 3 min; 0.90 after --epochs=12, 5 min)
python -m experiments.detection.fcos --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 --epochs=30 \\
    --fcos.channels=64 --learning_rate=0.002 --eval_every=128        (BCCD's blood cells: mAP@.5 0.84, 14 min)

With `--epochs=60 --eval_every=256` the second reaches 0.857 in 17 minutes on one core: white cells 0.976, red 0.846,
platelets 0.749.

For the second D holds instances_train.json, instances_val.json, instances_test.json and images.zip or images/. Choose
`--fcos.stages` and `--regress_range` by the size of the boxes: on stage3, whose stride is 8, the farthest side of a box
is at most 8 * regress_range pixels away, and larger boxes are stage4's.
"""

from functools import partial

from dlcore.data.box_images import PLAIN, BoxImages
from dlcore.detection import Thresholds, fcos
from dlcore.evaluators import box_results
from dlcore.evaluators.box_measures import BoxMAP
from dlcore.evaluators.box_results import DetectObjects
from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.main import main
from dlcore.models import OnBackbone, Zoo
from dlcore.optim import AveragedAdamW
from dlcore.weights.start import DenseAdaptation, ModuleWeights
from experiments.smoke import DENSE_BOXES

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(
        fcos.learner, regress_range=5.0, thresholds=Thresholds(score_thresh=0.05, nms_thresh=0.6, topk_candidates=100)
    ),
    data=BoxImages("scenes", image_size=(96, 96), num_scenes=4000, flip="both"),
    network=OnBackbone(
        partial(
            fcos.FCOS,
            stages=("stage3", "stage4"),
            channels=48,
            extra_blocks="none",
            num_convs=2,
            num_groups=8,
            distance_activation="exp",
        ),
        backbone=Zoo("resnet8_cifar", {"stages": (1, 1, 1, 1), "stem_stride": 2, "width": 16}),
        adaptation=DenseAdaptation(),
    ),
    optimizer=AveragedAdamW(learning_rate=4e-3, schedule="cosine", warmup=0.1, weight_decay=0.05, ema=0.99),
    length=Epochs(8, batch_size=32, eval_every=500, eval_batch_size=64, select="last"),
    measures=[BoxMAP()],
    report=[box_results.panels],
    use=DetectObjects(),
    start=ModuleWeights(),
    sanity=Sanity(plain=PLAIN),
    smoke={**DENSE_BOXES, "fcos.channels": 16, "fcos.num_convs": 1},
)

if __name__ == "__main__":
    main(experiment)
