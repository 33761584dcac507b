"""Segment colored shapes, or your own images and masks, with a convolutional network without downsampling.

python -m experiments.segmentation.full_resolution        (mean IoU 0.201: it sees parts of a shape only; 7 min)
python -m experiments.segmentation.full_resolution --full.layers=16        (not run)

Each layer of L widens what a pixel sees by 2, to 1 + 2 L: 17 pixels with 8 layers, where a shape has up to 48, so that
the network sees parts of it. What each layer costs: `--mode=profile`. Your own images: as for
experiments.segmentation.unet.
"""

from dlcore.experiment import Experiment, Setup
from dlcore.kits.segmentation import segmenters
from dlcore.main import main
from dlcore.segmentation.full_resolution import FullResolutionNet


def build(setup: Setup):
    fields = {"dtype": setup.dtype, **setup.flags.group("full")}
    return segmenters.build(setup, FullResolutionNet(setup.spec["num_classes"], **fields))


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    build=build,
    modules={"full": FullResolutionNet},
    defaults={**segmenters.DEFAULTS, "full.channels": 16, "steps": 400},
    smoke={**segmenters.SMOKE, "full.layers": 2, "full.channels": 4},
    **segmenters.FIELDS,
)

if __name__ == "__main__":
    main(experiment)
