"""Detect colored shapes, or the classes of a data set in COCO's format, with an anchor-free YOLO (YOLOX, YOLOv8).

python -m experiments.detection.yolo_anchor_free        (mAP@[.5:.95] 0.87 on test scenes, 3 min)
python -m experiments.detection.yolo_anchor_free --assignment=sim_ota        (0.86)
python -m experiments.detection.yolo_anchor_free --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 \\
    --epochs=30 --yolo_anchor_free.channels=64 --learning_rate=0.002 --eval_every=128    (BCCD's blood cells: not run)

In the last command D is the folder that experiments.detection.fcos describes. The sides of the images must be multiples
of the coarsest stride, and a side of a box can be at most `--yolo_anchor_free.num_bins` - 1 strides from its location.
The number of steps, the images and the backbone are those of experiments.detection.fcos.
"""

from functools import partial

from dlcore.data.box_images import PLAIN, BoxImages
from dlcore.detection import Thresholds, yolo_anchor_free
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
        yolo_anchor_free.learner, thresholds=Thresholds(score_thresh=0.05, nms_thresh=0.7, topk_candidates=100)
    ),
    data=BoxImages("scenes", image_size=(96, 96), num_scenes=4000, flip="both"),
    network=OnBackbone(
        partial(yolo_anchor_free.AnchorFreeYOLO, stages=("stage3", "stage4"), channels=48, num_blocks=1),
        backbone=Zoo("resnet8_cifar", {"stages": (1, 1, 1, 1), "stem_stride": 2, "width": 16}),
        adaptation=DenseAdaptation(),
        prefix="yolo_anchor_free",
    ),
    optimizer=AveragedAdamW(learning_rate=4e-3, schedule="cosine", warmup=0.1, weight_decay=0.05, ema=0.99),
    length=Epochs(8, batch_size=32, eval_every=500, eval_batch_size=64, select="last"),
    measures=[BoxMAP()],
    report=[box_results.panels],
    use=DetectObjects(),
    start=ModuleWeights(),
    sanity=Sanity(plain=PLAIN),
    smoke={**DENSE_BOXES, "yolo_anchor_free.channels": 16, "yolo_anchor_free.num_convs": 1},
)

if __name__ == "__main__":
    main(experiment)
