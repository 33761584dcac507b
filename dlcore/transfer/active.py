"""Active learning: which labels to buy next, under a budget.

Scores of unlabeled examples by a classifier's probabilities p, the largest bought first (Settles 2009, "Active learning
literature survey"):

    entropy            -sum_c p_c log p_c
    margin             -(p_first - p_second), the two most probable classes
    least_confident    1 - p_first
    random             a uniform number: what the others have to beat

    core_set           no score: the example farthest from all that are labeled, again and again, by features
                       (the greedy k-centers of Sener & Savarese 2018, arXiv:1708.00489)

Gains over random are small on easy data and depend on the first labels: compare over paired seeds. A network that goes
on from the weights of the last round is biased to what it saw first: train from scratch after each purchase.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_choice, check_whole_number
from dlcore.ops.checks import check_finite, check_probabilities, check_shapes, describe_array
from dlcore.ops.precision import centered, to_acc_dtype

__all__ = ["STRATEGIES", "area_under_curve", "buy", "buy_in_rounds", "core_set", "score"]

SCORES = {
    "entropy": lambda p: jax.scipy.special.entr(p).sum(-1),
    "margin": lambda p: -(lambda top: top[:, 0] - top[:, 1])(jax.lax.top_k(p, 2)[0]),
    "least_confident": lambda p: 1 - p.max(-1),
}
STRATEGIES = ("entropy", "margin", "least_confident", "core_set", "random")


def score(strategy: str, probabilities: jax.Array) -> jax.Array:
    """Score examples by how unsure a classifier is.

    Args:
      strategy: "entropy", "margin" or "least_confident".
      probabilities: [N, C].

    Returns:
      [N], larger where the label would say more.
    """
    if strategy not in SCORES:
        raise ValueError(f"strategy={strategy!r}: no score; allowed: {', '.join(SCORES)}")
    check_shapes(probabilities=(probabilities, "N C"))
    if probabilities.shape[1] < 2:
        raise ValueError(
            f"probabilities={list(probabilities.shape)}: one class; allowed: [N, C] of two classes or more"
        )
    check_probabilities("probabilities", probabilities)
    return SCORES[strategy](to_acc_dtype(probabilities))


def core_set(features: jax.Array, labeled: jax.Array, count: int) -> jax.Array:
    """Choose examples that are far from the labeled ones and from each other.

    Args:
      features: [N, D].
      labeled: [N] bool; at least one is.
      count: how many to choose, at most the examples without a label.

    Returns:
      [count] int32, the first the farthest from all labeled ones.
    """
    check_shapes(features=(features, "N D"), labeled=(labeled, "N"))
    _check_purchase(f"count={count}", count, labeled)
    check_finite("features", features)
    (features, _), labeled = centered(features), jnp.asarray(labeled, bool)

    def squared_distance(center: jax.Array) -> jax.Array:
        return jnp.square(features - center).sum(-1)

    def nearer(nearest: jax.Array, i: jax.Array) -> tuple[jax.Array, None]:
        return jnp.where(labeled[i], jnp.minimum(nearest, squared_distance(features[i])), nearest), None

    def choose(nearest: jax.Array, _: Any) -> tuple[jax.Array, jax.Array]:
        # Greedy k-center: the example farthest from all labeled ones.
        farthest = nearest.argmax().astype(jnp.int32)
        nearest = jnp.minimum(nearest, squared_distance(features[farthest])).at[farthest].set(-1.0)
        return nearest, farthest

    nearest, _ = jax.lax.scan(nearer, jnp.full(len(features), jnp.inf), jnp.arange(len(features)))
    return jax.lax.scan(choose, jnp.where(labeled, -1.0, nearest), None, length=count)[1]


def _check_purchase(arguments: str, count: int, labeled: jax.Array) -> None:
    """Check that there are as many examples without a label; traced labels count as none."""
    if jnp.ndim(labeled) != 1 or jnp.asarray(labeled).dtype != bool:
        raise ValueError(f"labeled={describe_array(labeled)}: no labels; allowed: bool [N]")
    unlabeled = labeled.size if isinstance(labeled, jax.core.Tracer) else int((~np.asarray(labeled)).sum())
    check_whole_number("count", count)
    if not 0 <= count <= unlabeled:
        raise ValueError(f"{arguments}: {count} labels to buy; allowed: 0 to {unlabeled}, the examples without a label")


def buy(
    strategy: str, key: jax.Array, labeled: jax.Array, count: int, probabilities: jax.Array, features: jax.Array
) -> jax.Array:
    """Choose examples to label.

    Args:
      strategy: one of STRATEGIES.
      key: PRNG key.
      labeled: [N] bool, the labels at hand; at least `count` examples are without.
      count: labels to buy.
      probabilities: [N, C] of the classifier trained on them.
      features: [N, D] of it, for `core_set`.

    Returns:
      [N] bool, the labels after the purchase: `count` more.
    """
    check_choice("strategy", strategy, STRATEGIES)
    _check_purchase(f"count={count}", count, labeled)
    labeled = jnp.asarray(labeled)
    if strategy == "core_set":
        return labeled.at[core_set(features, labeled, count)].set(True)
    if strategy != "random":
        check_shapes(labeled=(labeled, "N"), probabilities=(probabilities, "N C"))
    values = jax.random.uniform(key, labeled.shape) if strategy == "random" else score(strategy, probabilities)
    selected_idx = jax.lax.top_k(jnp.where(labeled, -jnp.inf, values), count)[1]
    return labeled.at[selected_idx].set(True)


def buy_in_rounds(
    train: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array, jax.Array]],
    strategy: str,
    key: jax.Array,
    labeled: jax.Array,
    *,
    count: int,
    rounds: int,
) -> tuple[jax.Array, jax.Array]:
    """Train, buy, and train from scratch, again and again.

    Args:
      train: (key, labeled [N] bool) -> (probabilities [N, C], features [N, D], test accuracy []), a new network's.
      strategy: one of STRATEGIES.
      key: PRNG key of the networks and the purchases; the network of a round depends on it and the round alone.
      labeled: [N] bool, the first labels.
      count: labels to buy in a round.
      rounds: purchases.

    Returns:
      (accuracies [rounds + 1], before the first purchase and after each; labels [N] bool at the end).
    """
    check_choice("strategy", strategy, STRATEGIES)
    check_whole_number("rounds", rounds, 1)
    check_whole_number("count", count, 0)
    _check_purchase(f"count={count}, rounds={rounds}", rounds * count, labeled)

    def once(labeled: jax.Array, k: jax.Array) -> tuple[jax.Array, jax.Array]:
        # Train from the start on all labels so far, then buy the next ones.
        init_key, choice = jax.random.split(jax.random.fold_in(key, k))
        probabilities, features, accuracy = train(init_key, labeled)
        labeled_after = buy(strategy, choice, labeled, count, probabilities, features)
        return jnp.where(k < rounds, labeled_after, labeled), accuracy

    labeled, accuracies = jax.lax.scan(once, labeled, jnp.arange(rounds + 1))
    return accuracies, labeled


def area_under_curve(accuracies: np.ndarray) -> np.ndarray:
    """Average a learning curve over the labels, by the trapezoid rule.

    Args:
      accuracies: [..., R], at equally spaced numbers of labels.

    Returns:
      [...], in the unit of the accuracies.
    """
    accuracies = np.asarray(accuracies, np.float64)
    check_finite("accuracies", accuracies)
    if not accuracies.ndim or accuracies.shape[-1] < 2:
        raise ValueError(f"accuracies={list(accuracies.shape)}: no area under a point; allowed: at least two rounds")
    return (accuracies[..., 1:] + accuracies[..., :-1]).mean(-1) / 2
