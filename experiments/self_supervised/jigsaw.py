"""Jigsaw puzzles: learn features by recognizing the permutation of an image's patches.

python -m experiments.self_supervised.jigsaw        (24 orders of 2 x 2: 90 % right; k-NN 73 %, untrained 82 %)
python -m experiments.self_supervised.jigsaw --grid=3 --input_size=24                      (64 orders of 3 x 3; not run)
python -m experiments.self_supervised.jigsaw --gap=0 --jitter=0 --by_piece=false             (borders may tell; not run)
python -m experiments.self_supervised.jigsaw --dataset=fashion_mnist --data_dir=D --steps=2500 \\
    --fine_tune=500,5000                                                                                     (not run)
"""

import math

from dlcore.experiment import Experiment, Setup
from dlcore.kits.self_supervised import pretext_classifiers
from dlcore.main import main
from dlcore.self_supervised import jigsaw
from dlcore.self_supervised.pieces import distant_orders


def build(setup: Setup):
    return pretext_classifiers.build(jigsaw.learner, setup, jigsaw.order_count(setup.flags.grid, setup.flags.orders))


def task(flags):
    return jigsaw.jigsaw(**flags.group("learner"))


def order_names(flags) -> list[str]:
    """Name each order by its pieces, numbered from 1 along the rows of the image."""
    orders = distant_orders(flags.grid**2, jigsaw.order_count(flags.grid, flags.orders))
    return [" ".join(str(piece + 1) for piece in order) for order in orders]


def panels(context) -> list:
    return pretext_classifiers.panels(context, task, order_names(context.flags))


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=jigsaw.learner,
    build=build,
    defaults={**pretext_classifiers.DEFAULTS, "grid": 2, "head.hidden": 256, "head.side": 2, "steps": 2000},
    expected_loss=lambda setup: math.log(jigsaw.order_count(setup.flags.grid, setup.flags.orders)),
    panels=panels,
    **pretext_classifiers.SHARED,
)

if __name__ == "__main__":
    main(experiment)
