"""Auxiliary heads and batch norm: what is trained and measured, and that the verdict turns with the numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import auxiliary_heads as study

RATES = 2.0 ** np.arange(3)


def runs(neither=0.5, heads=0.9, norm=0.95, both=0.95):
    """Numbers of two seeds at RATES; the second rate ends lowest."""
    results = {}
    for name, accuracy in {"neither": neither, "heads": heads, "norm": norm, "both": both}.items():
        loss = np.ones((2, 3, 20)) * np.array([2.0, 0.5, np.inf])[:, None]
        right = np.zeros((2, 3))
        right[:, 1] = accuracy
        results[name] = {"loss": loss, "accuracy": right, "ratio": np.full((2, 3), 0.25)}
    return RATES, results


@pytest.mark.covers("ZO-27")
def test_the_verdict_turns():
    good = study.report(*runs())
    assert good.holds
    assert "Without batch norm the heads help: 90.0% of the test digits right with them, 50.0% without" in good.verdict
    assert "With batch norm they do NOT help: 95.0% and 95.0% (+0.0, +0.0)" in good.verdict
    assert good.numbers["best rate, both"] == 2
    for changed in (
        {"heads": 0.5},  # never needed
        {"heads": 0.505},  # by half a point
        {"both": 0.97},  # needed still
        {"heads": np.array([0.9, 0.4])},  # not on every seed
    ):
        result = study.report(*runs(**changed))
        assert not result.holds
        assert "does NOT hold" in result.verdict


@pytest.mark.covers("ZO-27")
def test_heads_and_norm_are_there_where_they_are_named():
    x = jnp.zeros((1, 8, 8, 1))
    for name, (aux, norm) in study.NETS.items():
        net = study.small_googlenet(aux, norm, 0.05)
        shapes = jax.eval_shape(net.init, jax.random.key(0), x)
        assert len(net.modules) == 9
        assert {"aux1", "aux2"} <= set(shapes["params"]) if aux else not {"aux1", "aux2"} & set(shapes["params"])
        assert ("batch_stats" in shapes) == norm, name


@pytest.mark.covers("ZO-27")
def test_the_smoke_version(monkeypatch):
    """One net is compiled and trained; the three others are traced, since each compilation takes seconds."""
    train_one = study.train_one

    def compile_one(net, *args):
        if net.aux and net.batch_norm:
            return train_one(net, *args)
        shapes = train_one.eval_shape(net, *args)
        return jax.tree.map(lambda leaf: np.full(leaf.shape, 0.5), shapes)

    monkeypatch.setattr(study, "train_one", compile_one)
    result = study.study(**study.experiment.smoke)
    for label in study.NAMES.values():
        (loss,), (accuracy,) = result.numbers[f"final loss, {label}"], result.numbers[f"test accuracy, {label}"]
        assert 0 < loss < 3
        assert 0 <= accuracy <= 1
        assert result.numbers[f"gradient of the first module over the last's at the start, {label}"] > 0
