"""Panoptic segmentation: Mask R-CNN for objects and a U-Net for background, trained side by side and merged.

python -m experiments.segmentation.panoptic        (PQ 89.0 %; 28 min on one core)
python -m experiments.segmentation.panoptic --run=RUN --mode=predict --input=IMAGES --output=FOLDER    (in COCO's form)

The report shows each semantic map, in which all objects of a class are one color, beside the panoptic one, and the
quality that the semantic map's connected regions would have.
"""

from functools import partial

from dlcore.detection import two_stage
from dlcore.detection.faster_rcnn import FasterRCNN
from dlcore.detection.mask_rcnn import MaskHead
from dlcore.experiment import Experiment, Setup
from dlcore.kits.detection import detectors
from dlcore.kits.detection import two_stage_settings as kit
from dlcore.kits.images import labeled_images
from dlcore.kits.segmentation import panoptic_segmenters
from dlcore.kits.training import backbone, optimizer
from dlcore.main import main
from dlcore.segmentation import semantic
from dlcore.segmentation.panoptic import learner
from dlcore.segmentation.unet import UNet

TWO_STAGE = {
    name: kit.DEFAULTS[name]
    for name in ("num_proposals", "rpn_batch_size_per_image", "box_batch_size_per_image", "topk_candidates")
}


def build(setup: Setup):
    flags, num_classes = setup.flags, setup.spec["num_classes"]
    num_stuff = len(setup.spec["stuff_names"])
    detector = FasterRCNN(
        backbone=backbone.build(setup),
        num_classes=num_classes,
        mask_head=MaskHead(num_classes, dtype=setup.dtype, **flags.group("mask_head")),
        dtype=setup.dtype,
        **flags.group("faster_rcnn"),
    )
    unet = UNet(num_stuff + num_classes, dtype=setup.dtype, **flags.group("unet"))
    shared = {
        "preprocess": labeled_images.preprocess(setup),
        "augment": detectors.augmentation(flags),
    }
    parts = {
        "instances": two_stage.learner(
            model=detector, optimizer=optimizer.build(setup), detections_per_img=20, **TWO_STAGE, **shared
        ),
        "semantic": semantic.learner(model=unet, optimizer=optimizer.build(setup), **shared),
    }
    averaged = {name: optimizer.averaged(part, setup) for name, part in parts.items()}
    return learner(num_stuff=num_stuff, **averaged, **flags.group("learner"))


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=learner,
    build=build,
    modules={
        "faster_rcnn": partial(FasterRCNN, **kit.SMALL),
        "mask_head": partial(MaskHead, channels=32, num_convs=2),
        "unet": partial(UNet, widths=(12, 24, 48)),
    },
    defaults={
        **{name: value for name, value in kit.DEFAULTS.items() if name not in ("detections_per_img", *TWO_STAGE)},
        "steps": 600,
    },
    smoke={
        "steps": 4,
        "batch_size": 8,
        "num_scenes": 16,
        "eval_every": 4,
        "model.width": 8,
        **kit.SMALLEST,
        "mask_head.channels": 8,
        "mask_head.num_convs": 1,
        "unet.widths": (4, 8),
    },
    **panoptic_segmenters.FIELDS,
)

if __name__ == "__main__":
    main(experiment)
