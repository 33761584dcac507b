"""Outpainting pretext: learn features by painting what is around a crop.

python -m experiments.self_supervised.outpainting  (k-NN 86.2 %, untrained 82.0 %; MSE 0.010)
python -m experiments.self_supervised.outpainting --dataset=photographs                                      (not run)

`mse` is that of everything outside the crop, and `mse_mean` that of the crop's mean color there. The notes of the run
say what the mean image of the training split reaches on whole test images.
"""

from functools import partial

from dlcore.experiment import Experiment, Setup
from dlcore.kits.self_supervised import reconstruction
from dlcore.main import main
from dlcore.self_supervised import outpainting


def build(setup: Setup):
    return reconstruction.build(outpainting.learner, setup)


def task(flags):
    return partial(outpainting.crop_alone, share=flags.crop_share)


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=outpainting.learner,
    build=build,
    defaults={**reconstruction.DEFAULTS, "dataset": "digits", "batch_size": 128},
    panels=partial(reconstruction.panels, task=task),
    **reconstruction.SHARED | {"data": reconstruction.data_with_mean_image},
)

if __name__ == "__main__":
    main(experiment)
