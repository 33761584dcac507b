"""Un-rotation pretext: learn features by painting turned images upright.

python -m experiments.self_supervised.unrotation  (k-NN 90.7 %, untrained 81.4 %, three seeds)
python -m experiments.self_supervised.unrotation --num_angles=4                    (quarter turns, as RotNet's; not run)

`mse` is that of the upright image, and `mse_mean` that of the image's mean color. The notes of the run say what the
mean image of the training split reaches.
"""

from functools import partial

from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.self_supervised import unrotation
from dlcore.tasks.encoders import SMOKE
from dlcore.tasks.reconstruction import Reconstruction


class RotatedImages(Reconstruction):
    """Images that are turned by any angle."""

    mean_image = True

    def pretext(self, flags):
        return partial(unrotation.rotate_image, num_angles=flags.num_angles)


experiment = Experiment(
    __file__,
    __doc__,
    unrotation.learner,
    task=RotatedImages(),
    optimizer=AdamW(weight_decay=1e-4),
    defaults={"batch_size": 128},
    smoke=SMOKE,
)

if __name__ == "__main__":
    main(experiment)
