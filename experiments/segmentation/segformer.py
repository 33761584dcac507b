"""Segment colored shapes, or your own images and masks, with SegFormer: a pyramid transformer and linear layers.

python -m experiments.segmentation.segformer        (mean IoU 84.2 %, 98.6 % of the pixels; 16 min on one core)
python -m experiments.segmentation.segformer --dataset=folder --data_dir=D --batch_size=8 --epochs=60 \\
    --model.widths=32,64,160,256 --model.stages=2,2,2,2 --segformer.features=256 --class_weights=median \\
    --eval_every=460        (CamVid at 180 x 240: not run)

The small encoder has a quarter to a half of MiT-B0's channels and one block a stage; its finest map has a stride of 4.
The paper's network is `--model.widths=32,64,160,256 --model.stages=2,2,2,2 --segformer.features=256`; published weights
load in Python (docs/models.md). D is as for experiments.segmentation.unet.
"""

from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.segmentation import semantic
from dlcore.segmentation.segformer import SegFormer
from dlcore.tasks.masks import SMOKE, Masks

SMALL = {
    "model.stages": (1, 1, 1, 1),
    "model.widths": (16, 32, 40, 64),
    "segformer.features": 64,
    "segformer.dropout": 0.0,
    "model.drop_path": 0.0,
}
"""Fields of mit_b0 and of the head: the shapes need neither its size nor its regularization."""

experiment = Experiment(
    __file__,
    __doc__,
    semantic.learner,
    task=Masks(modules={"segformer": SegFormer}),
    optimizer=AveragedAdamW(),
    model="mit_b0",
    defaults={**SMALL, "learning_rate": 2e-3, "epochs": 32.0},
    smoke={**SMOKE, "image_size": (64, 64), "segformer.features": 8},
)

if __name__ == "__main__":
    main(experiment)
