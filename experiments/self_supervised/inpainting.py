"""Inpainting pretext (context encoder): learn features by filling in a hole of an image.

python -m experiments.self_supervised.inpainting                         (k-NN 88.2 %, untrained 82.0 %; MSE 0.016)
python -m experiments.self_supervised.inpainting --dataset=photographs                                       (not run)
python -m experiments.self_supervised.inpainting --dataset=cifar10 --data_dir=D --model.width=32 --steps=5000 \\
    --fine_tune=500,5000                                                                                     (not run)

`mse` is that of the hole alone, and `mse_mean` that of a hole filled with the mean of what is around it, 0.133 on the
test digits.
"""

from functools import partial

from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.self_supervised import inpainting
from dlcore.tasks.encoders import SMOKE
from dlcore.tasks.reconstruction import Reconstruction


class Holes(Reconstruction):
    """Images with a hole."""

    def pretext(self, flags):
        return partial(inpainting.hole, share=flags.hole_share)


experiment = Experiment(
    __file__,
    __doc__,
    inpainting.learner,
    task=Holes(),
    optimizer=AdamW(weight_decay=1e-4),
    defaults={"batch_size": 128},
    smoke=SMOKE,
)

if __name__ == "__main__":
    main(experiment)
