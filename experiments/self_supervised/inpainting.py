"""Inpainting pretext (context encoder): learn features by filling in a hole of an image.

python -m experiments.self_supervised.inpainting                         (k-NN 88.2 %, untrained 82.0 %; MSE 0.016)
python -m experiments.self_supervised.inpainting --dataset=photographs                                       (not run)
python -m experiments.self_supervised.inpainting --dataset=cifar10 --data_dir=D --model.width=32 --steps=5000 \\
    --fine_tune=500,5000                                                                                     (not run)

`mse` is that of the hole alone, and `mse_mean` that of a hole filled with the mean of what is around it, 0.133 on the
test digits.
"""

from functools import partial

from dlcore.experiment import Experiment, Setup
from dlcore.kits.self_supervised import reconstruction
from dlcore.main import main
from dlcore.self_supervised import inpainting


def build(setup: Setup):
    return reconstruction.build(inpainting.learner, setup)


def task(flags):
    return partial(inpainting.hole, share=flags.hole_share)


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=inpainting.learner,
    build=build,
    defaults={**reconstruction.DEFAULTS, "dataset": "digits", "batch_size": 128},
    panels=partial(reconstruction.panels, task=task),
    **reconstruction.SHARED,
)

if __name__ == "__main__":
    main(experiment)
