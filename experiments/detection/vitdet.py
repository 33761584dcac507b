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

import dataclasses
from functools import partial
from typing import Any, ClassVar

from dlcore.detection import two_stage
from dlcore.detection.mask_rcnn import MaskHead
from dlcore.detection.vitdet import ViTDetector
from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.boxes import AnchorBoxes
from dlcore.tasks.two_stage_settings import DEFAULTS, SMALL, SMOKE

NETWORK = {
    **SMALL,
    "stages": ("block2", "block3", "block4"),
    "factors": (2.0, 1.0, 0.5),
}
"""Fields of the detector: strides 4, 8 and 16 from a map of stride 8."""

BACKBONE = {
    "model.image_size": 96,
    "model.pretrain_size": 96,
    "model.patch_size": 8,
    "model.depth": 4,
    "model.width": 96,
    "model.num_heads": 4,
    "model.mlp_features": 192,
    "model.window_size": 6,
    "model.global_blocks": (1, 3),
    "model.residual_blocks": (0, 1, 2, 3),
    "model.drop_path": 0.0,
}
"""Fields of vitdet_b: a small network, half of whose blocks attend in windows, and all end in convolutions."""


@dataclasses.dataclass(frozen=True)
class PlainBoxes(AnchorBoxes):
    """Boxes for a detector with anchors on a plain ViT."""

    model = "vitdet_b"
    defaults: ClassVar[dict[str, Any]] = {
        **{name: value for name, value in AnchorBoxes.defaults.items() if not name.startswith("model.")},
        **BACKBONE,
    }


experiment = Experiment(
    __file__,
    __doc__,
    two_stage.learner,
    task=PlainBoxes(
        modules={"vitdet": partial(ViTDetector, **NETWORK), "mask_head": partial(MaskHead, channels=32, num_convs=2)}
    ),
    optimizer=AveragedAdamW(),
    defaults={
        **DEFAULTS,
        "num_scenes": 1200,
        "box_batch_size_per_image": 16,
        "num_proposals": 30,
        "detections_per_img": 20,
        "batch_size": 8,
        "steps": 480,
        "learning_rate": 1e-3,
    },
    smoke={
        **SMOKE,
        "model.width": 16,
        "model.depth": 3,
        "model.global_blocks": (2,),
        "model.residual_blocks": (),
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
