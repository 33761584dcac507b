"""Detect colored shapes and the keypoints of each, or those of a data set in COCO's format, with a keypoint R-CNN.

python -m experiments.detection.keypoint_rcnn        (PCK@0.1 97.2 %, mAP of boxes 89.2 %; 29 min on one core)
python -m experiments.detection.keypoint_rcnn --dataset=coco --data_dir=D --image_size=256,320 --batch_size=8 \\
    --epochs=60 --faster_rcnn.channels=64 --learning_rate=0.002 --faster_rcnn.scales=6,9 --eval_every=128    (not run)

For the second D is as for experiments.detection.fcos; its annotations have keypoints. Those of a shape are the pixels
farthest to the left, the top, the right and the bottom.
"""

from functools import partial

from dlcore.data.box_images import PLAIN, BoxImages
from dlcore.detection import two_stage
from dlcore.detection.anchor_recall import AnchorRecall
from dlcore.detection.faster_rcnn import FasterRCNN
from dlcore.detection.keypoint_rcnn import KeypointHead
from dlcore.evaluators import box_results
from dlcore.evaluators.box_measures import KeypointPCK
from dlcore.evaluators.box_results import DetectObjects
from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.main import main
from dlcore.models import OnBackbone, Zoo
from dlcore.models.network import WithHeads
from dlcore.optim import AveragedAdamW
from dlcore.weights.start import DenseAdaptation, ModuleWeights
from experiments.two_stage_settings import LEARNER, SMALL, SMALLEST, SMOKE

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(two_stage.learner, **LEARNER),
    data=BoxImages("scenes", image_size=(96, 96), num_scenes=4000, flip="both", mixing=None, keypoints=True),
    network=WithHeads(
        OnBackbone(
            partial(FasterRCNN, **SMALL),
            backbone=Zoo("resnet8_cifar", {"stages": (1, 1, 1, 1), "stem_stride": 2, "width": 16}),
            adaptation=DenseAdaptation(),
        ),
        heads={"keypoint_head": partial(KeypointHead, channels=32, num_convs=2)},
    ),
    optimizer=AveragedAdamW(learning_rate=2e-3, schedule="cosine", warmup=0.1, weight_decay=0.05, ema=0.99),
    length=Epochs(8, batch_size=32, eval_every=500, eval_batch_size=64, select="last"),
    measures=[KeypointPCK(), AnchorRecall()],
    report=[box_results.panels],
    use=DetectObjects(),
    start=ModuleWeights(),
    sanity=Sanity(plain=PLAIN),
    smoke={**SMOKE, **SMALLEST, "keypoint_head.channels": 8},
)

if __name__ == "__main__":
    main(experiment)
