"""Segment colored shapes, or your own images and masks, with PSPNet's pyramid pooling.

python -m experiments.segmentation.pspnet        (mean IoU 0.843; 8 min on one core)
python -m experiments.segmentation.pspnet --dataset=folder --data_dir=D --batch_size=8 --epochs=60 \\
    --model.width=16 --model.dilate=false,true,true --class_weights=median \\
    --eval_every=460        (CamVid at 180 x 240: not run)

The small ResNet keeps a stride of 4 by dilation. The paper's network is `--model=resnet50 --model.width=64
--model.stages=3,4,6,3 --model.dilate=false,true,true --pspnet.channels=512`. D is as for experiments.segmentation.unet.
"""

from functools import partial

from dlcore.experiment import Experiment, Setup
from dlcore.kits.segmentation import segmenters
from dlcore.main import main
from dlcore.segmentation.pspnet import PSPNet


def build(setup: Setup):
    return segmenters.build_on(setup, PSPNet, "pspnet")


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    build=build,
    model="resnet18",
    modules={"pspnet": partial(PSPNet, aux_stage="layer3", channels=32)},
    defaults={**segmenters.DEFAULTS, **segmenters.DILATED},
    smoke={**segmenters.SMOKE, "model.width": 4, "pspnet.channels": 8},
    **segmenters.FIELDS,
)

if __name__ == "__main__":
    main(experiment)
