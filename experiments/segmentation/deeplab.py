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

from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.segmentation import semantic
from dlcore.segmentation.deeplab import DeepLabV3
from dlcore.tasks.masks import DILATED, SMOKE, Masks

experiment = Experiment(
    __file__,
    __doc__,
    semantic.learner,
    task=Masks(modules={"deeplab": partial(DeepLabV3, aux_stage="layer3", channels=32, rates=(2, 4, 8), dropout=0.1)}),
    optimizer=AveragedAdamW(),
    model="resnet18",
    defaults=DILATED,
    smoke={**SMOKE, "model.width": 4, "deeplab.channels": 8},
)

if __name__ == "__main__":
    main(experiment)
