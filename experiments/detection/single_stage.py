"""Detect colored shapes, or the classes of a data set in COCO's format, with a single-stage anchor-based detector.

python -m experiments.detection.single_stage        (mAP@[.5:.95] 0.86 on test scenes, 5 min)
python -m experiments.detection.single_stage --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 \\
    --epochs=30 --single_stage.channels=64 --learning_rate=0.002 --single_stage.scales=3,5 --eval_every=128    (not run)

For the second D is as for experiments.detection.fcos. Choose `--single_stage.stages` and `--single_stage.scales` by the
size of the boxes: on stage3, whose stride is 8, an anchor of scale 2 is 16 pixels wide and high.
"""

from functools import partial

from dlcore.detection import single_stage
from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.boxes import DENSE_SMOKE, SMALL, AnchorBoxes

experiment = Experiment(
    __file__,
    __doc__,
    single_stage.learner,
    task=AnchorBoxes(modules={"single_stage": partial(single_stage.SingleStage, **SMALL, scales=(2.0, 3.0))}),
    optimizer=AveragedAdamW(),
    defaults={"topk_candidates": 100},
    smoke={**DENSE_SMOKE, "single_stage.channels": 16, "single_stage.num_convs": 1},
)

if __name__ == "__main__":
    main(experiment)
