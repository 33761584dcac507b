"""Un-rotation pretext: learn features by painting turned images upright.

python -m experiments.self_supervised.unrotation  (k-NN 90.7 %, untrained 81.4 %, three seeds)
python -m experiments.self_supervised.unrotation --num_angles=4                    (quarter turns, as RotNet's; not run)

`mse` is that of the upright image, and `mse_mean` that of the image's mean color. The notes of the run say what the
mean image of the training split reaches.
"""

from functools import partial

from dlcore.experiment import Experiment, Setup
from dlcore.kits.self_supervised import reconstruction
from dlcore.main import main
from dlcore.self_supervised import unrotation


def build(setup: Setup):
    return reconstruction.build(unrotation.learner, setup)


def task(flags):
    return partial(unrotation.rotate_image, num_angles=flags.num_angles)


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=unrotation.learner,
    build=build,
    defaults={**reconstruction.DEFAULTS, "dataset": "digits", "batch_size": 128},
    panels=partial(reconstruction.panels, task=task),
    **reconstruction.SHARED | {"data": reconstruction.data_with_mean_image},
)

if __name__ == "__main__":
    main(experiment)
