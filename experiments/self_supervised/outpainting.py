"""Outpainting pretext: learn features by painting what is around a crop.

python -m experiments.self_supervised.outpainting  (k-NN 86.2 %, untrained 82.0 %; MSE 0.010)
python -m experiments.self_supervised.outpainting --dataset=photographs                                      (not run)

`mse` is that of everything outside the crop, and `mse_mean` that of the crop's mean color there. The notes of the run
say what the mean image of the training split reaches on whole test images.
"""

from functools import partial

from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.self_supervised import outpainting
from dlcore.tasks.encoders import SMOKE
from dlcore.tasks.reconstruction import Reconstruction


class Crops(Reconstruction):
    """Images of which only a crop is shown."""

    mean_image = True

    def pretext(self, flags):
        return partial(outpainting.crop_alone, share=flags.crop_share)


experiment = Experiment(
    __file__,
    __doc__,
    outpainting.learner,
    task=Crops(),
    optimizer=AdamW(weight_decay=1e-4),
    defaults={"batch_size": 128},
    smoke=SMOKE,
)

if __name__ == "__main__":
    main(experiment)
