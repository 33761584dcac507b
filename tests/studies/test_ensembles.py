"""The study in smoke settings, and its verdict on numbers that were written for it."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import ensembles
from experiments.studies.small_runs import Digits


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


@pytest.mark.weekly
@pytest.mark.covers("RG-22", "RG-24", "RG-28")
def test_smoke(monkeypatch):
    """Images stay as they are: compiling their augmentation takes seconds."""
    chex.assert_shape(jax.eval_shape(ensembles.moved, jax.random.key(0), jnp.zeros((8, 8, 1))), (8, 8, 1))
    monkeypatch.setattr(ensembles, "moved", lambda key, image: image)
    monkeypatch.setattr(ensembles, "VIEWS", 1)
    result = ensembles.experiment.function(**ensembles.experiment.smoke)
    numbers = {name: np.asarray(value) for name, value in result.numbers.items()}
    assert all(np.isfinite(value).all() for value in numbers.values())
    assert (numbers["ensemble: log loss"] <= numbers["members: mean log loss"] + 1e-6).all()
    assert (numbers["members: best accuracy"] >= numbers["members: mean accuracy"]).all()
    chex.assert_shape(numbers["snapshots: accuracy by cycle"], (2,))
    assert set(result.figures) == {"ensembles"}


@pytest.mark.weekly
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


@pytest.fixture
def tiny(monkeypatch):
    """Training that writes how often each label was among its examples into the logits, and what it was asked for."""
    asked = {}

    def train(key, net, optimizer, images, labels, steps, **settings):
        with jax.ensure_compile_time_eval():
            first = optimizer.update(jnp.ones(()), optimizer.init(jnp.zeros(())), jnp.zeros(()))[0]
            asked.update(settings, first=float(first))
        counts = jnp.zeros(10).at[labels].add(1.0)
        return {"params": {"bias": jnp.stack([counts * (i + 1) for i in range(settings.get("snapshots", 1))])}}, None

    class Bias:
        def __init__(self, **_):
            pass

        def apply(self, variables, x, train):
            return jnp.broadcast_to(variables["params"]["bias"], (len(x), 10))

    monkeypatch.setattr(ensembles, "train", train)
    monkeypatch.setattr(ensembles, "SmallNet", Bias)
    monkeypatch.setattr(ensembles, "EXAMPLES", 6)
    images, labels = np.zeros((12, 1), np.float32), np.arange(12) % 10
    return ensembles.shuffled_digits.__annotations__["return"](images, labels, images[:3], labels[:3]), asked


@pytest.mark.slow
@pytest.mark.covers("RG-22")
def test_members_learn_digits_of_their_own_at_adams_rate(tiny):
    data, asked = tiny
    for own in (True, False):
        each, whole = jax.jit(lambda key, own=own: ensembles.independent(key, data, 3, 10, own))(jax.random.key(0))
        chex.assert_shape(each, (3, 2))
        chex.assert_shape(whole, (2,))
        assert (len(set(each[:, 0].tolist())) > 1) == own
    assert asked["first"] == pytest.approx(-3e-3, rel=1e-4)  # a step of Adam is its rate
    assert not {"snapshots", "augment"} & set(asked)


@pytest.mark.covers("RG-28")
def test_snapshots_are_of_one_run_of_cycles(tiny):
    """The logits of snapshot i are i + 1 times those of the first: log losses differ, and no example is drawn anew."""
    data, asked = tiny
    each, _ = jax.jit(lambda key: ensembles.snapshots(key, data, 2, 4))(jax.random.key(0))
    assert (asked["snapshots"], asked["augment"]) == (2, ensembles.moved)
    assert asked["first"] == pytest.approx(-0.05)  # SGD at the start of a cycle
    counts = np.bincount(data.labels[:6], minlength=10)
    for i in range(2):
        logits = counts * (i + 1.0)
        nats = np.log(np.exp(logits).sum()) - logits[data.test_labels]
        assert float(each[i, 0]) == pytest.approx(nats.mean(), rel=1e-5)


@pytest.mark.covers("RG-22", "RG-24", "RG-28")
def test_each_number_is_of_its_arm(monkeypatch):
    def pairs(*losses):
        return jnp.array([[loss, 1 - loss] for loss in losses])

    monkeypatch.setattr(ensembles, "shuffled_digits", lambda: None)
    monkeypatch.setattr(ensembles, "independent", lambda *args: (pairs(0.5, 0.25), pairs(0.125)[0]))
    monkeypatch.setattr(ensembles, "snapshots", lambda *args: (pairs(0.75, 0.375), pairs(0.0625)[0]))
    monkeypatch.setattr(ensembles, "averaged", lambda *args: pairs(0.625, 0.1875, 0.875))
    monkeypatch.setattr(ensembles, "draw", lambda *args: None)
    result = ensembles.study(num_seeds=1)
    assert result.holds
    assert result.numbers == {
        "members: mean accuracy": [0.625],
        "members: best accuracy": [0.75],
        "ensemble: accuracy": [0.875],
        "members: mean log loss": [0.375],
        "ensemble: log loss": [0.125],
        "snapshots: accuracy by cycle": [0.25, 0.625],
        "snapshot ensemble: accuracy": [0.9375],
        "last weights: accuracy": [0.375],
        "SWA: accuracy": [0.8125],
        "SWA, stale batch statistics: accuracy": [0.125],
        "last weights, SWA: log loss": [0.625, 0.1875],
    }


@pytest.mark.covers("RG-24")
def test_which_weights_and_statistics_each_average_has(monkeypatch):
    """Last weights are 10 and their average 20, statistics of training 1, those of the average 20 / 10 + 1 = 3.

    Two logits, weights and statistics, keep their difference in a softmax: 9, 17 and 19.
    """

    class Net:
        def apply(self, tree, images, train, *, rngs=None, mutable=()):
            if mutable:
                return None, {"batch_stats": tree["params"] / 10 + 1}
            return jnp.stack([tree["params"], tree["batch_stats"]])

    run = {"params": jnp.array([10.0]), "batch_stats": jnp.array([1.0])}, {}
    monkeypatch.setattr(ensembles, "SmallNet", lambda batch_norm: Net())
    monkeypatch.setattr(ensembles, "EXAMPLES", 2)
    monkeypatch.setattr(ensembles, "moved", lambda key, image: image)
    monkeypatch.setattr(ensembles, "train", lambda *_, **options: run)
    monkeypatch.setattr(ensembles, "swa_params", lambda state, params: jnp.array(20.0))
    monkeypatch.setattr(ensembles, "recompute_batch_stats", lambda forward, stats, views: forward(stats, views[0]))
    monkeypatch.setattr(ensembles, "log_loss_and_accuracy", lambda scores, labels: scores)
    digits = Digits(np.zeros((3, 8, 8, 1)), np.zeros(3, int), np.zeros((1, 8, 8, 1)), np.zeros(1, int))
    last, average, stale = np.asarray(ensembles.averaged(jax.random.key(0), digits, 4))
    np.testing.assert_allclose([row[0] - row[1] for row in (last, average, stale)], [9, 17, 19], rtol=1e-5)
