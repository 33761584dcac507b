"""The study in smoke settings, and its verdict on numbers that were written for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import ensembles


def pair(*values):
    """[1, K, 2] of (log loss, accuracy)."""
    return np.array([values], float)


@pytest.mark.covers("RG-22", "RG-24", "RG-28")
def test_the_verdict_follows_the_numbers():
    members, whole = pair((0.5, 0.8), (0.3, 0.9)), np.array([[0.35, 0.92]])
    shots, joined = pair((0.6, 0.7), (0.4, 0.85)), np.array([[0.3, 0.85]])
    swa = pair((0.5, 0.88), (0.4, 0.9), (2.0, 0.5))
    verdict, holds = ensembles.judge(members, whole, shots, joined, swa)
    assert holds
    assert "85.0% each, 90.0% the best, 92.0% together (above the best on 1 of 1 seeds)" in verdict
    assert "log loss 0.400 to 0.350, never above" in verdict
    assert "85.0% the last, 85.0% together (no worse on 1 of 1)" in verdict
    assert "88.0% the last weights, 90.0% their average (no worse on 1 of 1; 50.0% with" in verdict
    assert not ensembles.judge(members, np.array([[0.35, 0.9]]), shots, joined, swa)[1]  # as good as the best only
    assert "NOT never" in ensembles.judge(members, np.array([[0.45, 0.92]]), shots, joined, swa)[0]
    assert not ensembles.judge(members, whole, shots, np.array([[0.3, 0.8]]), swa)[1]
    assert not ensembles.judge(members, whole, shots, joined, swa[:, [1, 0, 2]])[1]


@pytest.mark.slow
@pytest.mark.covers("RG-22", "RG-24", "RG-28")
def test_smoke(monkeypatch):
    """Images stay as they are: compiling their augmentation takes seconds."""
    assert jax.eval_shape(ensembles.moved, jax.random.key(0), jnp.zeros((8, 8, 1))).shape == (8, 8, 1)
    monkeypatch.setattr(ensembles, "moved", lambda key, image: image)
    monkeypatch.setattr(ensembles, "VIEWS", 1)
    result = ensembles.experiment.function(**ensembles.experiment.smoke)
    numbers = {name: np.asarray(value) for name, value in result.numbers.items()}
    assert all(np.isfinite(value).all() for value in numbers.values())
    assert (numbers["ensemble: log loss"] <= numbers["members: mean log loss"] + 1e-6).all()
    assert (numbers["members: best accuracy"] >= numbers["members: mean accuracy"]).all()
    assert numbers["snapshots: accuracy by cycle"].shape == (2,)
    assert set(result.figures) == {"ensembles"}


@pytest.mark.slow
@pytest.mark.covers("RG-24")
def test_last_weights_and_averaged_ones_with_new_and_stale_statistics(monkeypatch):
    """The last weights are 0. The averaged ones say 3 where hidden units fire, as new statistics make them, else 5."""

    def train(key, net, *_, **__):
        variables = jax.tree.map(jnp.zeros_like, dict(net.init(key, jnp.zeros((2, 8, 8, 1)), False)))
        return jax.tree.map(lambda v: v[None], variables), {"state": jnp.zeros(1)}

    def swa_params(state, params):
        head = {"kernel": jnp.zeros((128, 10)).at[:, 3].set(1), "bias": 0.1 * jax.nn.one_hot(5, 10)}
        scales = {name: {"scale": v["scale"] + 1, "bias": v["bias"]} for name, v in params.items() if "norm" in name}
        return params | scales | {"head": head}

    def recompute(forward, stats, batches):
        return {name: {"mean": -jnp.ones_like(v["mean"]), "var": jnp.ones_like(v["var"])} for name, v in stats.items()}

    for name, fake in (("train", train), ("swa_params", swa_params), ("recompute_batch_stats", recompute)):
        monkeypatch.setattr(ensembles, name, fake)
    monkeypatch.setattr(ensembles, "moved", lambda key, image: image)
    data = ensembles.shuffled_digits()
    last, new, stale = np.asarray(ensembles.averaged(jax.random.key(0), data, 10))
    assert last[0] == pytest.approx(np.log(10), rel=1e-5)
    assert new == pytest.approx([128 * (data.test_labels != 3).mean(), (data.test_labels == 3).mean()], rel=1e-2)
    assert stale == pytest.approx([2.3, (data.test_labels == 5).mean()], rel=1e-2)
