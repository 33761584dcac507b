"""Detect colored shapes, or the classes of a data set in COCO's format, with SSD on a small backbone.

python -m experiments.detection.ssd        (mAP 0.840; after 8 epochs 0.725)
python -m experiments.detection.ssd --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 --epochs=30 \\
    --learning_rate=0.002 --eval_every=128    (not run)

For the second D is as for experiments.detection.fcos. Choose `--ssd.scales` by the size of the boxes: on 96 pixels a
default box of scale 0.25 is 24 pixels wide and high. The published SSD300 is `SSD(ReducedVGG16(), 90)` of
dlcore.detection.ssd on 300 pixels.
"""

from functools import partial

from dlcore.detection import ssd
from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.boxes import DENSE_SMOKE, AnchorBoxes

SMALL = {
    "stages": ("stage3", "stage4"),
    "extra_channels": (96,),
    "extra_strides": (2,),
    "scales": (0.19, 0.38, 0.55, 0.7),
    "aspect_ratios": (2.0,),
    "boxes_per_location": (4, 4, 4),
    "steps": (),
}

experiment = Experiment(
    __file__,
    __doc__,
    ssd.learner,
    task=AnchorBoxes(modules={"ssd": partial(ssd.SSD, **SMALL)}),
    optimizer=AveragedAdamW(),
    defaults={"topk_candidates": 100, "detections_per_img": 100, "epochs": 16.0},
    smoke={**DENSE_SMOKE, "ssd.extra_channels": (16,)},
)

if __name__ == "__main__":
    main(experiment)
