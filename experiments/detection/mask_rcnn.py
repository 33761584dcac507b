"""Detect colored shapes and draw the mask of each, or the objects of a data set in COCO's format, with Mask R-CNN.

python -m experiments.detection.mask_rcnn        (mAP of masks 88.5 %, of boxes 89.4 %; 41 min on one core)
python -m experiments.detection.mask_rcnn --dataset=coco --data_dir=D --image_size=256,320 --batch_size=8 \\
    --epochs=40 --faster_rcnn.aspect_ratios=2.7 --faster_rcnn.scales=4,6,9 \\
    --eval_every=200        (Penn-Fudan, 120 images of people: AP50 of masks 74.2 %, of boxes 84.5 %; 14 min)

`--faster_rcnn.non_local` puts a non-local block behind the backbone (not run; experiments.studies.non_local_detection
measures one). For the second D is as for experiments.detection.fcos; its annotations have segmentations. How many
training boxes the anchors can find is printed before training: of people, who are 2.7 times as high as wide, square
anchors find 26 %, these 99 %. `--init_from=RUN` takes the modules that this network has in common with that of another
run: from the first command's the second reaches AP50 of masks 76.2 %, of boxes 87.7 %.
"""

from functools import partial

from dlcore.data.box_images import PLAIN, BoxImages, MosaicOrCopies
from dlcore.detection import two_stage
from dlcore.detection.anchor_recall import AnchorRecall
from dlcore.detection.faster_rcnn import FasterRCNN
from dlcore.detection.mask_rcnn import MaskHead
from dlcore.evaluators import box_results
from dlcore.evaluators.box_measures import MaskMAP
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
    data=BoxImages("scenes", image_size=(96, 96), num_scenes=4000, flip="both", mixing=MosaicOrCopies(), masks=True),
    network=WithHeads(
        OnBackbone(
            partial(FasterRCNN, **SMALL),
            backbone=Zoo("resnet8_cifar", {"stages": (1, 1, 1, 1), "stem_stride": 2, "width": 16}),
            adaptation=DenseAdaptation(),
        ),
        heads={"mask_head": partial(MaskHead, channels=32, num_convs=2)},
    ),
    optimizer=AveragedAdamW(learning_rate=2e-3, schedule="cosine", warmup=0.1, weight_decay=0.05, ema=0.99),
    length=Epochs(8, batch_size=32, eval_every=500, eval_batch_size=64, select="last"),
    measures=[MaskMAP(), AnchorRecall()],
    report=[box_results.panels],
    use=DetectObjects(),
    start=ModuleWeights(),
    sanity=Sanity(plain=PLAIN),
    smoke={**SMOKE, **SMALLEST, "mask_head.channels": 8, "mask_head.num_convs": 1},
)

if __name__ == "__main__":
    main(experiment)
