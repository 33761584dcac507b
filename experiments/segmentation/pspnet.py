"""Segment colored shapes, or your own images and masks, with PSPNet's pyramid pooling.

python -m experiments.segmentation.pspnet        (mean IoU 0.843; 8 min on one core)
python -m experiments.segmentation.pspnet --dataset=folder --data_dir=D --batch_size=8 --epochs=60 \\
    --model.width=16 --model.dilate=false,true,true --class_weights=median \\
    --eval_every=460        (CamVid at 180 x 240: not run)

The small ResNet keeps a stride of 4 by dilation. The paper's network is `--model=resnet50 --model.width=64
--model.stages=3,4,6,3 --model.dilate=false,true,true --pspnet.channels=512`. D is as for experiments.segmentation.unet.
"""

from functools import partial

from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.segmentation import semantic
from dlcore.segmentation.pspnet import PSPNet
from dlcore.tasks.masks import DILATED, SMOKE, Masks

experiment = Experiment(
    __file__,
    __doc__,
    semantic.learner,
    task=Masks(modules={"pspnet": partial(PSPNet, aux_stage="layer3", channels=32)}),
    optimizer=AveragedAdamW(),
    model="resnet18",
    defaults=DILATED,
    smoke={**SMOKE, "model.width": 4, "pspnet.channels": 8},
)

if __name__ == "__main__":
    main(experiment)
