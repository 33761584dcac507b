"""Colorization pretext: learn features by predicting the colors of gray images.

python -m experiments.self_supervised.colorization                                            (crops of two photographs)
python -m experiments.self_supervised.colorization --dataset=cifar10 --data_dir=D --model.width=32 --steps=5000 \\
    --fine_tune=500,5000                                                                                     (not run)

`mse_gray` is the error of gray itself. The encoder sees images in gray afterwards, too, and so does the untrained one.
The first command has an MSE of 0.0035 on test crops, gray 0.0114; nearest neighbors find the place of 39.8 % (untrained
18.4 %), a linear probe of 37.1 % (16.4 %).
"""

from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.self_supervised import colorization
from dlcore.tasks.encoders import SMOKE
from dlcore.tasks.reconstruction import Reconstruction


class GrayImages(Reconstruction):
    """Images without their colors."""

    def pretext(self, flags):
        return colorization.remove_colors

    def present(self, flags):
        return colorization.to_grayscale


experiment = Experiment(
    __file__,
    __doc__,
    colorization.learner,
    task=GrayImages(dataset="photographs"),
    optimizer=AdamW(weight_decay=1e-4),
    smoke=SMOKE,
)

if __name__ == "__main__":
    main(experiment)
