"""Detect colored shapes and draw their masks with ViTDet: a plain ViT, a simple feature pyramid, Mask R-CNN's heads.

python -m experiments.detection.vitdet        (mAP of masks 21.6 %, of boxes 23.2 %; 4 min on a shared core)
python -m experiments.detection.vitdet --vitdet.pyramid_kind=fpn        (an FPN: masks 29.0 %, boxes 30.0 %)
python -m experiments.detection.vitdet --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 \\
    --epochs=60 --eval_every=128    (not run)

The class's mean mask in the detected boxes has an mAP of masks of 17.5 % and, with an FPN, of 21.9 %; no detection has
0. At this budget and with one seed the FPN is better, unlike in the paper, whose transformer is pretrained and larger.
480 steps of 8 images are few: experiments.detection.mask_rcnn takes eight times as many images, and reaches 88.5 %.

For the last D is as for experiments.detection.fcos; its annotations have segmentations. The transformer starts from
random weights, where the paper's comes from a masked autoencoder, so each of its blocks ends in the paper's residual
block of convolutions. `--init_from=RUN` takes the modules that this network has in common with that of another run.
The sides of the images must be multiples of twice `--model.patch_size`.
"""

from functools import partial

from dlcore.data.box_images import PLAIN, BoxImages, MosaicOrCopies
from dlcore.detection import two_stage
from dlcore.detection.anchor_recall import AnchorRecall
from dlcore.detection.mask_rcnn import MaskHead
from dlcore.detection.vitdet import ViTDetector
from dlcore.evaluators import box_results
from dlcore.evaluators.box_measures import MaskMAP
from dlcore.evaluators.box_results import DetectObjects
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.main import main
from dlcore.models import OnBackbone, Zoo
from dlcore.models.network import WithHeads
from dlcore.optim import AveragedAdamW
from dlcore.weights.start import DenseAdaptation, ModuleWeights
from experiments.two_stage_settings import LEARNER, SMALL, SMOKE

VIT = {"image_size": 96, "pretrain_size": 96, "patch_size": 8, "depth": 4, "width": 96, "num_heads": 4}
BLOCKS = {"mlp_features": 192, "window_size": 6, "global_blocks": (1, 3), "residual_blocks": (0, 1, 2, 3)}
"""Fields of vitdet_b: a small network, half of whose blocks attend in windows, and all end in convolutions."""

SMALLEST = {"model.width": 16, "model.depth": 3, "model.global_blocks": (2,), "model.residual_blocks": ()}

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(
        two_stage.learner, **LEARNER | {"box_batch_size_per_image": 16, "num_proposals": 30, "detections_per_img": 20}
    ),
    data=BoxImages("scenes", image_size=(96, 96), num_scenes=1200, flip="both", mixing=MosaicOrCopies(), masks=True),
    network=WithHeads(
        OnBackbone(
            partial(ViTDetector, **{**SMALL, "stages": ("block2", "block3", "block4"), "factors": (2.0, 1.0, 0.5)}),
            backbone=Zoo("vitdet_b", {**VIT, **BLOCKS, "drop_path": 0.0}),
            adaptation=DenseAdaptation(),
            prefix="vitdet",
        ),
        heads={"mask_head": partial(MaskHead, channels=32, num_convs=2)},
    ),
    optimizer=AveragedAdamW(learning_rate=1e-3, schedule="cosine", warmup=0.1, weight_decay=0.05, ema=0.99),
    length=Steps(480, batch_size=8, eval_every=500, eval_batch_size=64, select="last"),
    defaults={"epochs": 8.0},  # unused beside the steps, and part of what names run folders
    measures=[MaskMAP(), AnchorRecall()],
    report=[box_results.panels],
    use=DetectObjects(),
    start=ModuleWeights(),
    sanity=Sanity(plain=PLAIN),
    smoke={
        **SMOKE,
        **SMALLEST,
        "vitdet.stages": ("block2", "block3"),
        "vitdet.factors": (1.0, 0.5),
        "vitdet.channels": 8,
        "vitdet.box_channels": 8,
        "mask_head.channels": 8,
        "mask_head.num_convs": 1,
    },
)

if __name__ == "__main__":
    main(experiment)
