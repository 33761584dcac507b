"""Detect colored shapes, or the classes of a data set in COCO's format, with Faster R-CNN.

python -m experiments.detection.faster_rcnn       (mAP@[.5:.95] 0.89, mAP@.5 0.996 on test scenes; 15 min on one core)
python -m experiments.detection.faster_rcnn --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 \\
    --epochs=30 --faster_rcnn.channels=64 --learning_rate=0.002 --faster_rcnn.scales=4,6 --eval_every=128    (not run)

For the second D is as for experiments.detection.fcos. Choose `--faster_rcnn.stages` and `--faster_rcnn.scales` by the
size of the boxes: on stage2, whose stride is 4, an anchor of scale 4 is 16 pixels wide and high. How many training
boxes the anchors can find is printed before training.
"""

from functools import partial

from dlcore.data.box_images import PLAIN, BoxImages
from dlcore.detection import two_stage
from dlcore.detection.anchor_recall import AnchorRecall
from dlcore.detection.faster_rcnn import FasterRCNN
from dlcore.evaluators import box_results
from dlcore.evaluators.box_measures import BoxMAP
from dlcore.evaluators.box_results import DetectObjects
from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.main import main
from dlcore.models import OnBackbone, Zoo
from dlcore.optim import AveragedAdamW
from dlcore.weights.start import DenseAdaptation, ModuleWeights
from experiments.two_stage_settings import LEARNER, SMALL, SMALLEST, SMOKE

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(two_stage.learner, **LEARNER),
    data=BoxImages("scenes", image_size=(96, 96), num_scenes=4000, flip="both"),
    network=OnBackbone(
        partial(FasterRCNN, **SMALL),
        backbone=Zoo("resnet8_cifar", {"stages": (1, 1, 1, 1), "stem_stride": 2, "width": 16}),
        adaptation=DenseAdaptation(),
    ),
    optimizer=AveragedAdamW(learning_rate=2e-3, schedule="cosine", warmup=0.1, weight_decay=0.05, ema=0.99),
    length=Epochs(8, batch_size=32, eval_every=500, eval_batch_size=64, select="last"),
    measures=[BoxMAP(), AnchorRecall()],
    report=[box_results.panels],
    use=DetectObjects(),
    start=ModuleWeights(),
    sanity=Sanity(plain=PLAIN),
    smoke={**SMOKE, **SMALLEST},
)

if __name__ == "__main__":
    main(experiment)
