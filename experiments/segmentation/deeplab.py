"""Segment colored shapes, or your own images and masks, with DeepLabV3.

python -m experiments.segmentation.deeplab        (mean IoU 0.860)
python -m experiments.segmentation.deeplab --dataset=folder --data_dir=D --batch_size=8 --epochs=60 \\
    --model.width=16 --model.dilate=false,true,true --class_weights=median \\
    --eval_every=460        (CamVid at 180 x 240: not run)

The small ResNet keeps a stride of 4 by dilation. The published network is `--model=resnet50 --model.width=64
--model.stages=3,4,6,3 --model.dilate=false,true,true --deeplab.channels=256 --deeplab.rates=12,24,36`, whose map has
stride 8. D is as for experiments.segmentation.unet.
"""

from functools import partial

from dlcore.experiment import Experiment, Setup
from dlcore.kits.segmentation import segmenters
from dlcore.main import main
from dlcore.segmentation.deeplab import DeepLabV3


def build(setup: Setup):
    return segmenters.build_on(setup, DeepLabV3, "deeplab")


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    build=build,
    model="resnet18",
    modules={"deeplab": partial(DeepLabV3, aux_stage="layer3", channels=32, rates=(2, 4, 8), dropout=0.1)},
    defaults={**segmenters.DEFAULTS, **segmenters.DILATED},
    smoke={**segmenters.SMOKE, "model.width": 4, "deeplab.channels": 8},
    **segmenters.FIELDS,
)

if __name__ == "__main__":
    main(experiment)
