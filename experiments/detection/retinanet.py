"""Detect colored shapes, or the classes of a data set in COCO's format, with RetinaNet's focal loss on anchors.

python -m experiments.detection.retinanet        (mAP 0.873)
python -m experiments.detection.retinanet --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 \\
    --epochs=30 --retinanet.channels=64 --learning_rate=0.002 --retinanet.scales=3,5 --eval_every=128    (not run)

For the second D is as for experiments.detection.fcos. Choose `--retinanet.stages` and `--retinanet.scales` by the size
of the boxes: on stage3, whose stride is 8, an anchor of scale 2 is 16 pixels wide and high. The published form has
`--retinanet.num_groups=none`, `--retinanet.extra_blocks=p6p7` and three scales from 4 on.
"""

from functools import partial

from dlcore.detection import retinanet
from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.boxes import DENSE_SMOKE, SMALL, AnchorBoxes

experiment = Experiment(
    __file__,
    __doc__,
    retinanet.learner,
    task=AnchorBoxes(modules={"retinanet": partial(retinanet.RetinaNet, **SMALL, scales=(2.0, 3.0))}),
    optimizer=AveragedAdamW(),
    defaults={"topk_candidates": 100, "detections_per_img": 100},
    smoke={**DENSE_SMOKE, "retinanet.channels": 16, "retinanet.num_convs": 1},
)

if __name__ == "__main__":
    main(experiment)
