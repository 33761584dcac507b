"""Losses of metric learning side by side: what they learn of classes that they have never seen.

python -m experiments.studies.metric_learning

A small perceptron embeds digits in 10 dimensions. It is trained on the digits 0 to 5 by each loss and measured on 6 to
9: for how many of them the nearest other one (by cosine) is of the same class (recall at 1), by seed. The pixels
themselves and an untrained network stand beside them. Pairs are all pairs of a batch, triplets are mined in the batch.
The claim holds where semi-hard triplets (Schroff et al. 2015) are above the untrained network on every seed, and not
below hard triplets on average, which FaceNet found to collapse.

Measured with the defaults, 5 seeds: the claim did not hold. Pixels 99.0 %, untrained 85.1 %, softmax 81.9 %,
contrastive 75.0 %, cosine 80.1 %, hinge 77.6 %, all triplets 80.7 %, semi-hard 78.9 %, hard 85.9 %: six classes are too
few to learn what digits have in common, and each loss forgets what tells the others apart.

Reference: Hadsell et al. 2006 (contrastive); Schroff, Kalenichenko & Philbin 2015, arXiv:1503.03832 (triplets).
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.experiment import Headline, NonNegativeFloat, PositiveInt, Study, StudyResult
from dlcore.losses import metric_learning, softmax_cross_entropy_loss
from dlcore.main import main
from dlcore.metrics.retrieval import recall_at_k
from dlcore.report.figure import BLUE, GRAY, new_figure, seed_dots
from experiments.studies.small_runs import SmallNet, shuffled_digits, train

FIRST_UNSEEN = 6


def unit(z: jax.Array) -> jax.Array:
    """Vectors [..., D] of length one."""
    return z * jax.lax.rsqrt(jnp.square(z).sum(-1, keepdims=True) + 1e-12)


def over_pairs(loss: Callable) -> Callable:
    """The mean of `loss(a, b, same)` over all pairs of different examples of a batch."""

    def objective(z, images, labels):
        first, second = np.triu_indices(len(labels), 1)
        z = unit(z)
        return loss(z[first], z[second], labels[first] == labels[second]).mean()

    return objective


def triplets(kind: str) -> Callable:
    """The mined triplet loss on unit vectors."""
    return lambda z, images, labels: metric_learning.mined_triplet_loss(unit(z), labels, kind=kind)


def _signed(same: jax.Array) -> jax.Array:
    return jnp.where(same, 1, -1)


OBJECTIVES: dict[str, Callable] = {
    "softmax": lambda z, images, labels: softmax_cross_entropy_loss(z, labels).mean(),
    "contrastive": over_pairs(metric_learning.contrastive_loss),
    "cosine": over_pairs(lambda a, b, same: metric_learning.cosine_embedding_loss(a, b, _signed(same))),
    "hinge": over_pairs(
        lambda a, b, same: metric_learning.hinge_embedding_loss(jnp.square(a - b).sum(-1), _signed(same))
    ),
    "all triplets": triplets("all"),
    "semi-hard triplets": triplets("semi_hard"),
    "hard triplets": triplets("hard"),
}


def judge(scores: dict[str, np.ndarray]) -> bool:
    """Whether semi-hard triplets are above the untrained network on every seed and not below hard ones on average."""
    semi_hard = scores["semi-hard triplets"]
    return bool((semi_hard > scores["untrained"]).all() and semi_hard.mean() >= scores["hard triplets"].mean())


def draw(scores: dict[str, np.ndarray], pixels: float):
    figure, axes = new_figure((7.0, 3.6))
    names = sorted(scores, key=lambda name: -scores[name].mean())
    colors = [GRAY if name == "untrained" else BLUE for name in names]
    seed_dots(axes, {name: scores[name] for name in names}, colors, horizontal=True)
    axes.axvline(pixels, color="0.4", linestyle="--", linewidth=1)
    axes.text(pixels, -0.5, "pixels", ha="center", va="bottom", fontsize=8)
    axes.set(xlabel="recall at 1 of unseen classes")
    return figure


def study(
    *,
    num_seeds: PositiveInt = 5,
    steps: PositiveInt = 400,
    width: PositiveInt = 64,
    learning_rate: NonNegativeFloat = 0.003,
) -> StudyResult:
    """Train an embedding by each loss.

    Args:
      steps: steps of Adam, 48 examples each.
      width: units of each of two hidden layers.
    """
    data = shuffled_digits()
    is_trained = data.labels < FIRST_UNSEEN
    images, labels = jnp.asarray(data.images[is_trained]), jnp.asarray(data.labels[is_trained])
    is_unseen = data.test_labels >= FIRST_UNSEEN
    test, test_labels = jnp.asarray(data.test_images[is_unseen]), data.test_labels[is_unseen]
    net = SmallNet((width, width))

    @functools.partial(jax.jit, static_argnums=0)
    def run(name, key):
        variables, _ = train(
            key, net, optax.adam(learning_rate), images, labels, steps, batch_size=48, objective=OBJECTIVES[name]
        )
        return net.apply(jax.tree.map(lambda v: v[-1], variables), test, False)

    @jax.jit
    def untrained(key):
        return net.apply(net.init(key, test[:1], False), test, False)

    def scored(embed):
        return np.array([recall_at_k(embed(jax.random.key(seed)), test_labels) for seed in range(num_seeds)])

    scores = {"untrained": scored(untrained)}
    scores |= {name: scored(functools.partial(run, name)) for name in OBJECTIVES}
    pixels = recall_at_k(test.reshape(len(test), -1), test_labels)
    verdict = f"Recall at 1 of unseen digits: pixels {pixels:.1%}, " + ", ".join(
        f"{name} {values.mean():.1%}" for name, values in scores.items()
    )
    numbers = {f"{name}: recall at 1": values.tolist() for name, values in scores.items()} | {"pixels": pixels}
    headline = Headline("recall at 1 of unseen classes, semi-hard triplets", scores["semi-hard triplets"], "digits")
    return StudyResult(numbers, verdict + ".", {"metric_learning": draw(scores, pixels)}, judge(scores), headline)


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "steps": 2, "width": 8})

if __name__ == "__main__":
    main(experiment)
