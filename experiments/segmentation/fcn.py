"""Segment colored shapes, or your own images and masks, with a fully convolutional network.

python -m experiments.segmentation.fcn        (mean IoU 0.943; 33 min on one core; after --epochs=8 0.899)
python -m experiments.segmentation.fcn --dataset=folder --data_dir=D --batch_size=8 --epochs=60 --model.width=16 \\
    --model.stem=imagenet --class_weights=median --eval_every=460        (CamVid at 180 x 240: not run)

The shapes are small, so the ResNet keeps a stride of 2 by dilation; a map of full size is scored too and joined by a
transposed convolution. The paper's FCN-8s is `--model.stem=imagenet --model.dilate= --fcn.skips=layer3,layer2`. Such
coarse scores find these shapes, but not their edges: strides 16 to 2 (`--model=resnet8_cifar --model.width=16
--model.stem_stride=2 --fcn.stage=stage4 --fcn.skips=stage3,stage2,stage1`) reached a mean IoU of 0.714. Torchvision's
form enlarges one map: `--model=resnet50 --model.width=64 --model.stages=3,4,6,3 --model.stem=imagenet
--model.dilate=false,true,true --fcn.skips= --fcn.upsampling=bilinear --fcn.aux_stage=layer3`. D is as for
experiments.segmentation.unet.
"""

from functools import partial

from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.segmentation import semantic
from dlcore.segmentation.fcn import FCN
from dlcore.tasks.masks import SMOKE, Masks

SMALL = {"model.stages": (1, 1, 1, 1), "model.stem": "cifar", "model.width": 8, "model.dilate": (False, True, True)}
"""Fields of resnet18: strides 1, 1, 2, 2 and 2."""

experiment = Experiment(
    __file__,
    __doc__,
    semantic.learner,
    task=Masks(modules={"fcn": partial(FCN, stage="layer4", skips=("layer1",), upsampling="transposed")}),
    optimizer=AveragedAdamW(),
    model="resnet18",
    defaults={**SMALL, "epochs": 10.0},
    smoke={**SMOKE, "model.width": 4},
)

if __name__ == "__main__":
    main(experiment)
