"""Segment colored shapes, or your own images and masks, with LR-ASPP, MobileNetV3's light head.

python -m experiments.segmentation.lraspp        (mean IoU 0.710; 5 min on one core)
python -m experiments.segmentation.lraspp --dataset=folder --data_dir=D --batch_size=8 --epochs=60 \\
    --model=mobilenet_v3_large --model.dilate --model.first_blocks --lraspp.fine=stage3_first --lraspp.coarse=last \\
    --class_weights=median --eval_every=460        (CamVid at 180 x 240 on the published form: not run)

D is as for experiments.segmentation.unet.
"""

from functools import partial

from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.segmentation import semantic
from dlcore.segmentation.lraspp import LRASPP
from dlcore.tasks.masks import SMOKE, Masks

SMALL = {"model.stages": (1, 1, 1, 1), "model.stem_stride": 2, "model.width": 16}
"""Fields of resnet8_cifar: strides 2, 2, 4, 8 and 16."""

experiment = Experiment(
    __file__,
    __doc__,
    semantic.learner,
    task=Masks(modules={"lraspp": partial(LRASPP, fine="stage1", coarse="stage4", channels=64)}),
    optimizer=AveragedAdamW(),
    model="resnet8_cifar",
    defaults=SMALL,
    smoke={**SMOKE, "model.width": 8, "lraspp.channels": 8},
)

if __name__ == "__main__":
    main(experiment)
