"""Jigsaw puzzles: learn features by recognizing the permutation of an image's patches; here below k-NN on pixels.

python -m experiments.self_supervised.jigsaw        (24 orders of 2 x 2: 90 % right; k-NN 73 %, untrained 82 %)
python -m experiments.self_supervised.jigsaw --grid=3 --input_size=24                      (64 orders of 3 x 3; not run)
python -m experiments.self_supervised.jigsaw --gap=0 --jitter=0 --by_piece=false             (borders may tell; not run)
python -m experiments.self_supervised.jigsaw --dataset=fashion_mnist --data_dir=D --steps=2500 \\
    --fine_tune=500,5000                                                                                     (not run)
"""

from functools import partial

from dlcore.data.images import Images, Resizing
from dlcore.evaluators.feature_measures import FeatureMeasures
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.experiment.parts import Run
from dlcore.main import main
from dlcore.models import Zoo
from dlcore.optim import AdamW
from dlcore.self_supervised import jigsaw
from dlcore.self_supervised.piece_network import Labels, PieceNetwork, log_labels
from dlcore.self_supervised.pieces import distant_orders
from dlcore.weights.start import BackboneWeights
from experiments.smoke import ENCODERS


def num_orders(run: Run) -> int:
    settings = run.parts.technique.keywords
    return jigsaw.order_count(settings["grid"], settings["orders"])


def order_names(grid: int, orders: int | None, **settings: int) -> list[str]:
    """Name each order by its pieces, numbered from 1 along the rows of the image."""
    orders_of_pieces = distant_orders(grid**2, jigsaw.order_count(grid, orders))
    return [" ".join(str(piece + 1) for piece in order) for order in orders_of_pieces]


experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(jigsaw.learner, grid=2, gap=1, jitter=1, by_piece=True),
    data=Images("digits", valid_fraction=0.1, resizing=Resizing(), labels=False),
    network=PieceNetwork(
        Zoo("resnet8_cifar"),
        Labels(jigsaw.jigsaw, num_orders, order_names),
        head={"hidden": 256, "side": 2},
    ),
    optimizer=AdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=1e-4),
    length=Steps(2000, batch_size=128, eval_every=200, select="last"),
    measures=[FeatureMeasures(bank_size=5000, knn_k=20, fine_tune=(0.01, 0.1))],
    start=BackboneWeights(),
    sanity=Sanity(expected_loss=log_labels, tolerance=0.5),
    smoke=ENCODERS,
)

if __name__ == "__main__":
    main(experiment)
