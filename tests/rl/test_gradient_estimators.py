"""Gradient estimators: single samples by hand, means beside exact gradients, and where a derivative is needed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.rl import gradient_estimators as estimators
from experiments.rl import gradient_estimators as study


def test_one_sample_by_hand():
    # x = m + 2 e, f(x) = x^2. Score: f(x) (x - m) / 4; pathwise: 2 x.
    def sample(mean, key):
        return mean + 2 * jax.random.normal(key)

    @jax.jit
    def run():
        keys = jax.random.split(jax.random.key(0), 5)
        score = estimators.score_function_gradients(
            sample, lambda mean, x: jax.scipy.stats.norm.logpdf(x, mean, 2.0), jnp.square, 1.0, keys, 3.0
        )
        pathwise = estimators.pathwise_gradients(sample, jnp.square, 1.0, keys)
        return jax.vmap(lambda key: sample(1.0, key))(keys), score, pathwise

    x, score, pathwise = jax.device_get(run())
    np.testing.assert_allclose(score, (x**2 - 3) * (x - 1) / 4, rtol=1e-4)
    np.testing.assert_allclose(pathwise, 2 * x, rtol=1e-5)


def test_the_surrogate_has_the_costs_value_and_both_derivatives():
    # cost = 3 t, log p = t^2: d = 3 + 2 t * 3 t at t = 2.
    value, slope = jax.value_and_grad(lambda t: estimators.surrogate_loss(3 * t, t**2))(2.0)
    assert (float(value), float(slope)) == (6.0, 3 + 4 * 6)


def test_enumeration_by_hand():
    # p = (s, 1 - s), costs (0, 1): d/ds = -1.
    gradient = estimators.enumerated_gradient(lambda s: jnp.stack([s, 1 - s]), lambda x: 1.0 * x, 0.3, 2)
    assert float(gradient) == pytest.approx(-1)


@pytest.mark.weekly
@pytest.mark.covers("RL-09")
def test_both_agree_with_the_exact_gradient_where_they_may_be_used():
    keys = jax.random.split(jax.random.key(1), 8000)
    results = {f"{d} dimensions": study.quadratic(d, keys, 0) for d in (1, 8)}
    results |= {"jump": study.jump(keys), "discrete": study.discrete(keys, 0), "graph": study.graph(keys)}
    for problem, arms in results.items():
        for arm, numbers in arms.items():
            blind = arm == "pathwise" and "dimensions" not in problem
            assert (numbers["distance"] > 3) == blind, (problem, arm, numbers)
    assert [results[problem]["pathwise"]["missing"] for problem in ("jump", "discrete")] == pytest.approx([1, 1])
    # Pathwise: 2 (x - c) by a mean has variance 4 std^2 = 1.96 whatever the dimension, apart from the one log std.
    one, eight = (results[f"{d} dimensions"] for d in (1, 8))
    assert eight["score"]["variance"] > 5 * one["score"]["variance"]
    assert eight["score with a baseline"]["variance"] < 0.7 * eight["score"]["variance"]
    judged = study.report(results)
    assert judged.holds
    for problem in ("8 dimensions", "jump"):
        arms = results[problem]
        swapped = results | {problem: arms | {"score": arms["pathwise"], "pathwise": arms["score"]}}
        assert not study.report(swapped).holds


def test_variances_of_the_normal_by_hand():
    keys = jax.random.split(jax.random.key(2), 20_000)
    params = {"mean": jnp.zeros(3), "log_std": jnp.log(0.5)}
    found = estimators.pathwise_gradients(study.normal_sample, lambda x: jnp.square(x - 2).sum(), params, keys)
    np.testing.assert_allclose(found["mean"].var(0), 4 * 0.25, rtol=0.05)
    np.testing.assert_allclose(found["mean"].mean(0), -4, atol=0.04)


def test_the_graphs_truth_is_the_slope_of_its_mean():
    at, weights = np.polynomial.hermite_e.hermegauss(60)

    def expected(mean):
        x = mean + at
        return weights @ ((x - 1) ** 2 + 2 * x / (1 + np.exp(-x))) / weights.sum()

    assert study.graph_exact(0.5) == pytest.approx((expected(0.501) - expected(0.499)) / 0.002, rel=1e-5)
