"""Jigsaw puzzles: learn features by recognizing the permutation of an image's patches.

python -m experiments.self_supervised.jigsaw        (24 orders of 2 x 2: 90 % right; k-NN 73 %, untrained 82 %)
python -m experiments.self_supervised.jigsaw --grid=3 --input_size=24                      (64 orders of 3 x 3; not run)
python -m experiments.self_supervised.jigsaw --gap=0 --jitter=0 --by_piece=false             (borders may tell; not run)
python -m experiments.self_supervised.jigsaw --dataset=fashion_mnist --data_dir=D --steps=2500 \\
    --fine_tune=500,5000                                                                                     (not run)
"""

from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.self_supervised import jigsaw
from dlcore.self_supervised.pieces import distant_orders
from dlcore.tasks.encoders import SMOKE
from dlcore.tasks.pretext import PretextImages


class Puzzles(PretextImages):
    """The pieces of an image, in one of a few orders."""

    def num_classes(self, setup):
        return jigsaw.order_count(setup.flags.grid, setup.flags.orders)

    def pretext(self, flags):
        return jigsaw.jigsaw(**flags.group("learner"))

    def class_names(self, flags):
        """Name each order by its pieces, numbered from 1 along the rows of the image."""
        orders = distant_orders(flags.grid**2, jigsaw.order_count(flags.grid, flags.orders))
        return [" ".join(str(piece + 1) for piece in order) for order in orders]


experiment = Experiment(
    __file__,
    __doc__,
    jigsaw.learner,
    task=Puzzles(),
    optimizer=AdamW(weight_decay=1e-4),
    defaults={"grid": 2, "head.hidden": 256, "head.side": 2, "steps": 2000},
    smoke=SMOKE,
)

if __name__ == "__main__":
    main(experiment)
