"""The networks by hand, the spectrum against numpy, and the verdict."""

import jax
import numpy as np
import pytest

from experiments.studies import conditioning as study


def by_hand(params, x, norm, shortcuts):
    for i, layer in enumerate(params[:-1]):
        z = x @ layer["kernel"] + layer["bias"]
        if norm:
            z = (z - z.mean(1, keepdims=True)) / np.sqrt(z.var(1, keepdims=True) + 1e-5)
        x = np.tanh(z) + (x if shortcuts and i else 0)
    return x @ params[-1]["kernel"] + params[-1]["bias"]


@pytest.mark.parametrize(("norm", "shortcuts"), [(False, False), (True, False), (False, True)])
def test_the_networks_are_those_of_the_formula(norm, shortcuts):
    params = jax.tree.map(np.asarray, study.initial_params(jax.random.key(0), 2.0, 3))
    x = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
    logits = jax.jit(study.logits_of, static_argnums=(2, 3))(params, x, norm, shortcuts)
    np.testing.assert_allclose(logits, by_hand(params, x, norm, shortcuts), atol=1e-4)


def test_the_scale_is_that_of_the_weights():
    small, large = (study.initial_params(jax.random.key(0), s, 2)[1]["kernel"] for s in (0.4, 3.0))
    np.testing.assert_allclose(large, small * 7.5, rtol=1e-5)  # 3 / 0.4


@pytest.mark.covers("MI-04")
def test_the_largest_eigenvalue_is_above_that_of_the_block_of_the_biases():
    """One tanh layer of 8: 16 * 8 + 8 + 8 * 10 + 10 = 226 parameters."""
    rng = np.random.default_rng(0)
    params = [
        {"kernel": (rng.normal(size=(n, m)) / np.sqrt(n)).astype(np.float32), "bias": np.zeros(m, np.float32)}
        for n, m in ((16, 8), (8, 10))
    ]
    values = np.asarray(study.eigenvalues(params, False, False, 20), np.float64)
    assert len(values) == 226
    measured = study.Conditioning(values, 0.0, 0.0)
    assert measured.largest == values[-1]
    assert measured.spread == pytest.approx(values[-1] / np.median(np.abs(values)))
    # The Hessian in the biases of the logits is the mean of diag(p) - p p^T: the largest eigenvalue is at least its.
    x = np.asarray(study.small_digits(20)[0])
    logits = by_hand(params, x, False, False)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    block = np.mean([np.diag(q) - np.outer(q, q) for q in p], 0)
    assert values[-1] >= np.linalg.eigvalsh(block)[-1]


@pytest.mark.weekly
def test_ill_scaled_weights_spread_the_spectrum():
    usual, small = (study.measure(study.Arm(scale), 0, 50) for scale in (1.0, 0.4))
    assert max(usual.lanczos_error, small.lanczos_error) < 1e-3
    assert usual.spread < small.spread / 3
    assert 0 <= usual.negative < 1


@pytest.mark.covers("MI-04")
def test_the_verdict_turns_with_each_part_of_the_claim():
    def row(largest, median):
        return [study.Conditioning(np.array([median, median, largest]), 0.0, 0.0)]

    good = {arm: row(1.0, 0.1) for arm in study.ARMS}
    # Largest 30 against 1 and 6; spreads 100 against 10 and 10.
    good |= {"large weights": row(30.0, 0.1), "large weights, layer norm": row(6.0, 0.1)}
    good |= {"small weights": row(1.0, 0.01)}
    assert study.report(good).holds
    assert not study.report(good | {"large weights, layer norm": row(12.0, 0.1)}).holds
    assert not study.report(good | {"small weights, shortcuts": row(1.0, 0.03)}).holds
    assert not study.report(good | {"usual weights": row(4.0, 0.1)}).holds
    assert not study.report(
        good | {"usual weights, layer norm": [good["usual weights"][0]._replace(lanczos_error=0.1)]}
    ).holds


@pytest.mark.covers("MI-04")
def test_an_arm_has_the_scale_and_the_help_of_its_name():
    for name, arm in study.ARMS.items():
        scale = {"small": 0.4, "usual": 1.0, "large": 3.0}[name.partition(" ")[0]]
        assert arm == (scale, "layer norm" in name, "shortcuts" in name)
