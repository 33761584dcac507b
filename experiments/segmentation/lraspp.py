"""Segment colored shapes, or your own images and masks, with LR-ASPP, MobileNetV3's light head.

python -m experiments.segmentation.lraspp        (mean IoU 0.710; 5 min on one core)
python -m experiments.segmentation.lraspp --dataset=folder --data_dir=D --batch_size=8 --epochs=60 \\
    --model=mobilenet_v3_large --model.dilate --model.first_blocks --lraspp.fine=stage3_first --lraspp.coarse=last \\
    --class_weights=median --eval_every=460        (CamVid at 180 x 240 on the published form: not run)

D is as for experiments.segmentation.unet.
"""

from functools import partial

from dlcore.experiment import Experiment, Setup
from dlcore.kits.segmentation import segmenters
from dlcore.main import main
from dlcore.segmentation.lraspp import LRASPP


def build(setup: Setup):
    return segmenters.build_on(setup, LRASPP, "lraspp")


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    build=build,
    model="resnet8_cifar",
    modules={"lraspp": partial(LRASPP, fine="stage1", coarse="stage4", channels=64)},
    defaults={**segmenters.DEFAULTS, **segmenters.BACKBONE},
    smoke={**segmenters.SMOKE, **segmenters.BACKBONE_SMOKE, "lraspp.channels": 8},
    **segmenters.FIELDS,
)

if __name__ == "__main__":
    main(experiment)
