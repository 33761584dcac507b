"""Detect colored shapes, or the classes of a data set in COCO's format, with SSD on a small backbone.

python -m experiments.detection.ssd        (mAP 0.840; after 8 epochs 0.725)
python -m experiments.detection.ssd --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 --epochs=30 \\
    --learning_rate=0.002 --eval_every=128    (not run)

For the second D is as for experiments.detection.fcos. Choose `--ssd.scales` by the size of the boxes: on 96 pixels a
default box of scale 0.25 is 24 pixels wide and high. The published SSD300 is `SSD(ReducedVGG16(), 90)` of
dlcore.detection.ssd on 300 pixels.
"""

from functools import partial

from dlcore.data.box_images import PLAIN, BoxImages
from dlcore.detection import Thresholds, ssd
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
    technique=partial(
        ssd.learner,
        thresholds=Thresholds(score_thresh=0.01, nms_thresh=0.45, topk_candidates=100, detections_per_img=100),
    ),
    data=BoxImages("scenes", image_size=(96, 96), num_scenes=4000, flip="both"),
    network=OnBackbone(
        partial(
            ssd.SSD,
            stages=("stage3", "stage4"),
            extra_channels=(96,),
            extra_strides=(2,),
            scales=(0.19, 0.38, 0.55, 0.7),
            aspect_ratios=(2.0,),
            boxes_per_location=(4, 4, 4),
            steps=(),
        ),
        backbone=Zoo("resnet8_cifar", {"stages": (1, 1, 1, 1), "stem_stride": 2, "width": 16}),
        adaptation=DenseAdaptation(),
    ),
    optimizer=AveragedAdamW(learning_rate=4e-3, schedule="cosine", warmup=0.1, weight_decay=0.05, ema=0.99),
    length=Epochs(16, batch_size=32, eval_every=500, eval_batch_size=64, select="last"),
    measures=[BoxMAP(), AnchorRecall()],
    report=[box_results.panels],
    use=DetectObjects(),
    start=ModuleWeights(),
    sanity=Sanity(plain=PLAIN),
    smoke={**DENSE_BOXES, "ssd.extra_channels": (16,)},
)

if __name__ == "__main__":
    main(experiment)
