"""Colorization pretext: learn features by predicting the colors of gray images.

python -m experiments.self_supervised.colorization                                            (crops of two photographs)
python -m experiments.self_supervised.colorization --dataset=cifar10 --data_dir=D --model.width=32 --steps=5000 \\
    --fine_tune=500,5000                                                                                     (not run)

`mse_gray` is the error of gray itself. The encoder sees images in gray afterwards, too, and so does the untrained one.
The first command has an MSE of 0.0035 on test crops, gray 0.0114; nearest neighbors find the place of 39.8 % (untrained
18.4 %), a linear probe of 37.1 % (16.4 %).
"""

from functools import partial

from dlcore.experiment import Experiment, Setup
from dlcore.kits.self_supervised import reconstruction
from dlcore.main import main
from dlcore.self_supervised import colorization


def build(setup: Setup):
    return reconstruction.build(colorization.learner, setup)


def present(flags):
    return colorization.to_grayscale


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=colorization.learner,
    build=build,
    defaults=reconstruction.DEFAULTS,
    panels=partial(reconstruction.panels, task=lambda flags: colorization.remove_colors),
    **{
        **reconstruction.SHARED,
        "evaluators": partial(reconstruction.evaluators, present=present),
        "encoder": partial(reconstruction.encoder, present=present),
    },
)

if __name__ == "__main__":
    main(experiment)
