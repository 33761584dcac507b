"""Detect colored shapes, or the classes of a data set in COCO's format, with RetinaNet's focal loss on anchors.

python -m experiments.detection.retinanet        (mAP 0.873)
python -m experiments.detection.retinanet --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 \\
    --epochs=30 --retinanet.channels=64 --learning_rate=0.002 --retinanet.scales=3,5 --eval_every=128    (not run)

For the second D is as for experiments.detection.fcos. Choose `--retinanet.stages` and `--retinanet.scales` by the size
of the boxes: on stage3, whose stride is 8, an anchor of scale 2 is 16 pixels wide and high. The published form has
`--retinanet.num_groups=none`, `--retinanet.extra_blocks=p6p7` and three scales from 4 on.
"""

from functools import partial

from dlcore.data.box_images import PLAIN, BoxImages
from dlcore.detection import Thresholds, retinanet
from dlcore.detection.anchor_recall import AnchorRecall
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
    technique=partial(retinanet.learner, thresholds=Thresholds(topk_candidates=100, detections_per_img=100)),
    data=BoxImages("scenes", image_size=(96, 96), num_scenes=4000, flip="both"),
    network=OnBackbone(
        partial(
            retinanet.RetinaNet,
            stages=("stage3", "stage4"),
            channels=48,
            extra_blocks="none",
            num_convs=2,
            num_groups=8,
            scales=(2.0, 3.0),
        ),
        backbone=Zoo("resnet8_cifar", {"stages": (1, 1, 1, 1), "stem_stride": 2, "width": 16}),
        adaptation=DenseAdaptation(),
        prefix="retinanet",
    ),
    optimizer=AveragedAdamW(learning_rate=4e-3, schedule="cosine", warmup=0.1, weight_decay=0.05, ema=0.99),
    length=Epochs(8, batch_size=32, eval_every=500, eval_batch_size=64, select="last"),
    measures=[BoxMAP(), AnchorRecall()],
    report=[box_results.panels],
    use=DetectObjects(),
    start=ModuleWeights(),
    sanity=Sanity(plain=PLAIN),
    smoke={**DENSE_BOXES, "retinanet.channels": 16, "retinanet.num_convs": 1},
)

if __name__ == "__main__":
    main(experiment)
