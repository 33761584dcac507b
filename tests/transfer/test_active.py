"""Scores and purchases by hand, and a pool in which the margin finds what random misses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.setting import FlagError
from dlcore.transfer.active import STRATEGIES, area_under_curve, buy, buy_in_rounds, core_set, score
from experiments.transfer import active as page

P = jnp.array([[0.5, 0.5, 0.0], [0.4, 0.3, 0.3], [0.9, 0.05, 0.05], [0.6, 0.3, 0.1]])


@pytest.mark.covers("TL-15")
def test_scores_by_hand():
    """Margins 0, .1, .85, .3; the second has the highest entropy and is the least confident."""
    np.testing.assert_allclose(score("margin", P), [0, -0.1, -0.85, -0.3], atol=1e-6)
    np.testing.assert_allclose(score("least_confident", P), [0.5, 0.6, 0.1, 0.4], atol=1e-6)
    entropy = [np.log(2), 1.0889, 0.3944, 0.8979]
    np.testing.assert_allclose(score("entropy", P), entropy, atol=1e-4)
    with pytest.raises(ValueError, match="strategy='core_set': no score; allowed: entropy, margin, least_confident"):
        score("core_set", P)


@pytest.mark.covers("TL-15")
def test_a_core_set_takes_the_farthest_again_and_again():
    """On a line, 0 labeled: 10 is the farthest; then 4, 4 from 0 and 6 from 10; then 7 (3 from 4); .5 is left."""
    x = np.float32([[0], [0.5], [4], [7], [10]])
    labeled, both = np.array([[True, False, False, False, False], [True, False, False, False, True]])
    found = jax.jit(lambda x, labeled, both: (core_set(x, labeled, 4), core_set(x, both, 1)))(x, labeled, both)
    np.testing.assert_array_equal(found[0], [4, 2, 3, 1])
    np.testing.assert_array_equal(core_set(x, labeled, 3), [4, 2, 3])
    np.testing.assert_array_equal(found[1], [2])


@pytest.mark.covers("TL-15")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_purchase_buys_as_many_as_it_should_and_none_twice(strategy):
    rng = np.random.default_rng(0)
    e, features = np.exp(rng.normal(size=(12, 3))).astype(np.float32), rng.normal(size=(12, 2)).astype(np.float32)
    p, labeled = e / e.sum(1, keepdims=True), np.arange(12) < 5
    purchase = jax.jit(lambda key, labeled: buy(strategy, key, labeled, 4, p, features))
    after = np.asarray(purchase(jax.random.key(0), labeled))
    assert (after.sum(), after[:5].all()) == (9, True)
    if strategy not in ("core_set", "random"):
        new = np.flatnonzero(after & ~labeled)
        assert set(new) == set(5 + np.argsort(-np.asarray(score(strategy, p))[5:])[:4])


def threshold(key, labeled):
    """Points i / 200 are of class 1 from .3 on: the border is put in the middle of the gap that the labels leave."""
    x = jnp.arange(200) / 200
    truth = x >= 0.3
    low = jnp.where(labeled & ~truth, x, 0.0).max()
    high = jnp.where(labeled & truth, x, 1.0).min()
    border = (low + high) / 2
    p = jax.nn.sigmoid(20 * (x - border))
    return jnp.stack([1 - p, p], -1), x[:, None], ((x >= border) == truth).mean()


@pytest.mark.slow
@pytest.mark.covers("TL-15")
def test_the_margin_halves_what_random_buys_at_large():
    """Bisection: after six labels the border is known to 1 / 2^6 by the margin, and to about 1 / 7 by random."""
    labeled = jnp.arange(200) % 199 == 0
    accuracies = {}
    for strategy in ("margin", "random"):
        run = lambda key, s=strategy: buy_in_rounds(threshold, s, key, labeled, count=1, rounds=6)  # noqa: E731
        accuracies[strategy], after = jax.vmap(run)(jax.random.split(jax.random.key(0), 5))
        np.testing.assert_array_equal(after.sum(1), 8)
    assert (accuracies["margin"][:, 0] == accuracies["random"][:, 0]).all(), "the first labels are the same"
    assert (accuracies["margin"][:, -1] >= 0.98).all()
    margin, random = (area_under_curve(accuracies[name]) for name in ("margin", "random"))
    assert margin.mean() > random.mean() + 0.01
    assert accuracies["random"][:, -1].mean() < 0.98


def test_each_round_buys_the_most_uncertain_and_trains_anew():
    """Of six examples the first is labeled, and i has the margin i / 10: one more is bought twice, the smallest first.

    The accuracy is the number of labels.
    """
    margins = np.arange(6) / 10
    p = np.float32(np.stack([0.5 + margins / 2, 0.5 - margins / 2], 1))

    def train(key, labeled):
        return p, p, labeled.sum()

    run = jax.jit(lambda key, labeled: buy_in_rounds(train, "margin", key, labeled, count=2, rounds=2))
    accuracies, labeled = run(jax.random.key(0), np.arange(6) < 1)
    np.testing.assert_array_equal(accuracies, [1, 3, 5])
    np.testing.assert_array_equal(labeled, [1, 1, 1, 1, 1, 0])


def test_an_area_by_hand_and_bad_words():
    """.2, .6, .8: (.4 + .7) / 2."""
    assert area_under_curve([0.2, 0.6, 0.8]) == pytest.approx(0.55)
    labeled = jnp.arange(200) < 2
    with pytest.raises(ValueError, match="count=50, rounds=4: 200 labels to buy; allowed: 0 to 198, the examples"):
        buy_in_rounds(threshold, "margin", jax.random.key(0), labeled, count=50, rounds=4)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_labels_that_do_not_exist_are_not_bought(strategy):
    """Of ten examples eight are labeled: two rounds of three would make 14."""
    labeled, features = jnp.arange(10) < 8, jnp.ones((10, 2))
    with pytest.raises(ValueError, match="count=3, rounds=2: 6 labels to buy; allowed: 0 to 2"):
        buy_in_rounds(threshold, strategy, jax.random.key(0), labeled, count=3, rounds=2)
    with pytest.raises(ValueError, match="count=3: 3 labels to buy; allowed: 0 to 2, the examples without a label"):
        buy(strategy, jax.random.key(0), labeled, 3, features, features)
    with pytest.raises(ValueError, match="count=3: 3 labels to buy; allowed: 0 to 2"):
        core_set(features, labeled, 3)
    with pytest.raises(ValueError, match="count=-1: -1 labels to buy; allowed: 0 to 2"):
        core_set(features, labeled, -1)
    assert core_set(features, labeled, 0).size == 0


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ({"first": 116}, r"--first=116: a class has \d+ images in the pool; allowed: 1 to \d+"),
        ({"count": 80, "rounds": 16}, "--count=80: 1280 labels in --rounds=16; allowed: at most the 1147 images"),
    ],
)
def test_the_study_buys_no_labels_that_do_not_exist(flags, problem):
    with pytest.raises(FlagError, match=problem):
        page.study(**flags)


@pytest.mark.covers("TL-15")
def test_the_verdict_turns():
    curves = {"margin": np.array([[0.5, 0.9], [0.5, 0.8]]), "random": np.array([[0.5, 0.7], [0.5, 0.7]])}
    good = page.report(curves, np.array([20, 40]), "digits")
    assert good.holds
    assert "margin 67.50 % (+7.50 ± 2.50), random 60.00 %" in good.verdict
    alone = page.report({name: curve[:1] for name, curve in curves.items()}, np.array([20, 40]), "digits")
    assert "±" not in alone.verdict, "one seed has no standard error"
    swapped = dict(zip(curves, reversed(curves.values()), strict=True))
    assert not page.report(swapped, np.array([20, 40]), "digits").holds
