"""Detect colored shapes, or the classes of a data set in COCO's format, with Faster R-CNN.

python -m experiments.detection.faster_rcnn       (mAP@[.5:.95] 0.89, mAP@.5 0.996 on test scenes; 15 min on one core)
python -m experiments.detection.faster_rcnn --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 \\
    --epochs=30 --faster_rcnn.channels=64 --learning_rate=0.002 --faster_rcnn.scales=4,6 --eval_every=128    (not run)

For the second D is as for experiments.detection.fcos. Choose `--faster_rcnn.stages` and `--faster_rcnn.scales` by the
size of the boxes: on stage2, whose stride is 4, an anchor of scale 4 is 16 pixels wide and high. How many training
boxes the anchors can find is printed before training.
"""

from functools import partial

from dlcore.detection import two_stage
from dlcore.detection.faster_rcnn import FasterRCNN
from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.boxes import AnchorBoxes
from dlcore.tasks.two_stage_settings import DEFAULTS, SMALL, SMALLEST, SMOKE

experiment = Experiment(
    __file__,
    __doc__,
    two_stage.learner,
    task=AnchorBoxes(modules={"faster_rcnn": partial(FasterRCNN, **SMALL)}),
    optimizer=AveragedAdamW(),
    defaults=DEFAULTS,
    smoke={**SMOKE, **SMALLEST},
)

if __name__ == "__main__":
    main(experiment)
