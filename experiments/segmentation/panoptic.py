"""Panoptic segmentation: Mask R-CNN for objects and a U-Net for background, trained side by side and merged.

python -m experiments.segmentation.panoptic        (PQ 89.0 %; 28 min on one core)
python -m experiments.segmentation.panoptic --run=RUN --mode=predict --input=IMAGES --output=FOLDER    (in COCO's form)

The report shows each semantic map, in which all objects of a class are one color, beside the panoptic one, and the
quality that the semantic map's connected regions would have.
"""

from functools import partial

from dlcore.data.box_images import PLAIN, BoxImages
from dlcore.detection import two_stage
from dlcore.detection.faster_rcnn import FasterRCNN
from dlcore.detection.mask_rcnn import MaskHead
from dlcore.evaluators import segment_results
from dlcore.evaluators.segment_quality import SegmentQuality
from dlcore.evaluators.segment_results import FindSegments
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.main import main
from dlcore.models import OnBackbone, Zoo
from dlcore.models.network import WithHeads
from dlcore.optim import AveragedAdamW
from dlcore.segmentation import panoptic, semantic
from dlcore.segmentation.unet import UNet
from dlcore.weights.segment_networks import DetectorWeights, ThingsAndStuff
from dlcore.weights.start import DenseAdaptation
from experiments.smoke import BOXES
from experiments.two_stage_settings import LEARNER, SMALL, SMALLEST

experiment = Experiment(
    __file__,
    __doc__,
    technique=panoptic.learner,
    data=BoxImages("scenes", image_size=(96, 96), num_scenes=4000, resizing=None, mixing=None, masks=True, stuff=True),
    network=ThingsAndStuff(
        things=partial(two_stage.learner, **{**LEARNER, "detections_per_img": 20}),
        detector=WithHeads(
            OnBackbone(
                partial(FasterRCNN, **SMALL),
                backbone=Zoo("resnet8_cifar", {"stages": (1, 1, 1, 1), "stem_stride": 2, "width": 16}),
                adaptation=DenseAdaptation(),
            ),
            heads={"mask_head": partial(MaskHead, channels=32, num_convs=2)},
        ),
        stuff=semantic.learner,
        segmenter=partial(UNet, widths=(12, 24, 48)),
    ),
    optimizer=AveragedAdamW(learning_rate=2e-3, schedule="cosine", warmup=0.1, weight_decay=0.05, ema=0.99),
    length=Steps(600, batch_size=32, eval_every=500, eval_batch_size=64, select="last"),
    measures=[SegmentQuality()],
    report=[segment_results.panels],
    use=FindSegments(),
    start=DetectorWeights(),
    sanity=Sanity(plain=PLAIN),
    defaults={"epochs": 8.0},  # not used beside steps, but in the identity of runs
    smoke={**BOXES, **SMALLEST, "mask_head.channels": 8, "mask_head.num_convs": 1, "unet.widths": (4, 8)},
)

if __name__ == "__main__":
    main(experiment)
