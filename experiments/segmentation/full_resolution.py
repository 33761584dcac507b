"""Segment colored shapes, or your own images and masks, with a convolutional network without downsampling.

python -m experiments.segmentation.full_resolution        (mean IoU 0.201: it sees parts of a shape only; 7 min)
python -m experiments.segmentation.full_resolution --full.layers=16        (not run)

Each layer of L widens what a pixel sees by 2, to 1 + 2 L: 17 pixels with 8 layers, where a shape has up to 48, so that
the network sees parts of it. What each layer costs: `--mode=profile`. Your own images: as for
experiments.segmentation.unet.
"""

from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.segmentation import semantic
from dlcore.segmentation.full_resolution import FullResolutionNet
from dlcore.tasks.masks import SMOKE, Masks

experiment = Experiment(
    __file__,
    __doc__,
    semantic.learner,
    task=Masks(modules={"full": FullResolutionNet}),
    optimizer=AveragedAdamW(),
    defaults={"full.channels": 16, "steps": 400},
    smoke={**SMOKE, "full.layers": 2, "full.channels": 4},
)

if __name__ == "__main__":
    main(experiment)
