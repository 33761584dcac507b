"""Detect colored shapes, or the classes of a data set in COCO's format, with YOLO.

python -m experiments.detection.yolo                          (AP at IoU 0.5 0.989, mAP 0.740)
python -m experiments.detection.yolo --yolo.stage=stage4      (6 x 6 cells in place of 12 x 12; not run)
python -m experiments.detection.yolo --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 --epochs=30 \\
    --yolo.channels=96 --learning_rate=0.002 --eval_every=128    (not run)

For the last D is as for experiments.detection.fcos. A cell of stage3 is 8 pixels wide. `lost_objects` in the results
counts the objects whose center lies in the cell of another: YOLO can neither learn nor find them.
"""

from functools import partial

from dlcore.data.box_images import PLAIN, BoxImages
from dlcore.detection import Thresholds, yolo
from dlcore.evaluators import box_results
from dlcore.evaluators.box_measures import BoxMAP
from dlcore.evaluators.box_results import DetectObjects
from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.main import main
from dlcore.models import OnBackbone, Zoo
from dlcore.optim import AveragedAdamW
from dlcore.weights.start import DenseAdaptation, ModuleWeights
from experiments.smoke import DENSE_BOXES


def shared_cells(context):
    """Say how many objects no cell owns."""
    from dlcore.report.tables import text

    num_lost, objects = context.numbers.get("lost_objects"), int(context.data.test.arrays["box_mask"].sum())
    line = f"{num_lost or 0:.0f} of {objects} test objects share a cell with another and cannot be found."
    return [text("Objects that share a cell", line)]


experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(yolo.learner, thresholds=Thresholds(topk_candidates=100)),
    data=BoxImages("scenes", image_size=(96, 96), num_scenes=4000, flip="both"),
    network=OnBackbone(
        partial(yolo.YOLO, stage="stage3", num_convs=3, channels=64, num_groups=8),
        backbone=Zoo("resnet8_cifar", {"stages": (1, 1, 1, 1), "stem_stride": 2, "width": 16}),
        adaptation=DenseAdaptation(),
    ),
    optimizer=AveragedAdamW(learning_rate=4e-3, schedule="cosine", warmup=0.1, weight_decay=0.05, ema=0.99),
    length=Epochs(8, batch_size=32, eval_every=500, eval_batch_size=64, select="last"),
    measures=[BoxMAP()],
    report=[box_results.panels, shared_cells],
    use=DetectObjects(),
    start=ModuleWeights(),
    sanity=Sanity(plain=PLAIN),
    smoke={**DENSE_BOXES, "yolo.channels": 16, "yolo.num_convs": 1},
)

if __name__ == "__main__":
    main(experiment)
