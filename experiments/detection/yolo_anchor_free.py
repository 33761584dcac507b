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

from dlcore.detection import yolo_anchor_free
from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.boxes import DENSE_SMOKE, Boxes

SMALL = {"stages": ("stage3", "stage4"), "channels": 48, "num_blocks": 1}
"""Fields of a detector on the small backbone: strides 8 and 16."""

experiment = Experiment(
    __file__,
    __doc__,
    yolo_anchor_free.learner,
    task=Boxes(modules={"yolo_anchor_free": partial(yolo_anchor_free.AnchorFreeYOLO, **SMALL)}),
    optimizer=AveragedAdamW(),
    defaults={"topk_candidates": 100},
    smoke={**DENSE_SMOKE, "yolo_anchor_free.channels": 16, "yolo_anchor_free.num_convs": 1},
)

if __name__ == "__main__":
    main(experiment)
