"""Segment colored shapes, or your own images and masks, with a fully convolutional network.

python -m experiments.segmentation.fcn        (mean IoU 0.714)
python -m experiments.segmentation.fcn --dataset=folder --data_dir=D --batch_size=8 --epochs=60 --model.width=24 \\
    --class_weights=median --eval_every=460        (CamVid at 180 x 240: not run)

Three finer maps are scored too and joined by transposed convolutions, as in the paper's FCN-8s, up to stride 2.
`--fcn.skips=` and `--fcn.upsampling=bilinear` give torchvision's form, which enlarges one map; its backbone is
`--model=resnet50 --model.dilate=false,true,true --fcn.stage=layer4 --fcn.aux_stage=layer3`. D is as for
experiments.segmentation.unet.
"""

from functools import partial

from dlcore.experiment import Experiment, Setup
from dlcore.kits import segmentation
from dlcore.main import main
from dlcore.segmentation.fcn import FCN


def build(setup: Setup):
    return segmentation.build_on(setup, FCN, "fcn")


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    build=build,
    model="resnet8_cifar",
    modules={"fcn": partial(FCN, stage="stage4", skips=("stage3", "stage2", "stage1"), upsampling="transposed")},
    defaults={**segmentation.DEFAULTS, **segmentation.BACKBONE},
    smoke={**segmentation.SMOKE, **segmentation.BACKBONE_SMOKE},
    **segmentation.FIELDS,
)

if __name__ == "__main__":
    main(experiment)
