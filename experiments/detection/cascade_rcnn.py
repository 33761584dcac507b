"""Detect colored shapes, or the classes of a data set in COCO's format, with Cascade R-CNN: three heads in a row.

python -m experiments.detection.cascade_rcnn        (mAP 92.6 %, AP75 99.6 %; 15 min on one core)
python -m experiments.detection.cascade_rcnn --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 \\
    --epochs=30 --cascade_rcnn.channels=64 --learning_rate=0.002 --cascade_rcnn.scales=4,6 --eval_every=128    (not run)

For the second D is as for experiments.detection.fcos. Each head refines the boxes of the one before, and takes a region
for an object from a higher IoU on: 0.5, then `--cascade_iou_thresh=0.6,0.7`. Compare `map75` with that of
experiments.detection.faster_rcnn, whose settings are otherwise the same.
"""

from functools import partial

from dlcore.detection import two_stage
from dlcore.detection.cascade_rcnn import CascadeRCNN
from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.boxes import AnchorBoxes
from dlcore.tasks.two_stage_settings import DEFAULTS, SMALL, SMOKE

experiment = Experiment(
    __file__,
    __doc__,
    two_stage.learner,
    task=AnchorBoxes(modules={"cascade_rcnn": partial(CascadeRCNN, **SMALL)}),
    optimizer=AveragedAdamW(),
    defaults={**DEFAULTS, "cascade_iou_thresh": (0.6, 0.7)},
    smoke={
        **SMOKE,
        "model.stages": (1, 1),
        "cascade_rcnn.stages": ("stage2",),
        "cascade_rcnn.channels": 8,
        "cascade_rcnn.box_channels": 8,
    },
)

if __name__ == "__main__":
    main(experiment)
