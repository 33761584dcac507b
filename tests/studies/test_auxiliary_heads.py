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


@pytest.mark.weekly
@pytest.mark.covers("ZO-27")
def test_heads_and_norm_are_there_where_they_are_named():
    x = jnp.zeros((1, 8, 8, 1))
    for name, (aux, norm) in study.NETS.items():
        net = study.small_googlenet(aux, norm, 0.05)
        shapes = jax.eval_shape(net.init, jax.random.key(0), x)
        assert len(net.modules) == 9
        assert {"aux1", "aux2"} <= set(shapes["params"]) if aux else not {"aux1", "aux2"} & set(shapes["params"])
        assert ("batch_stats" in shapes) == norm, name


@pytest.mark.weekly
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


@pytest.mark.covers("ZO-27")
def test_each_name_stands_for_its_net(monkeypatch):
    """A net with heads gets 0.3 more, one with batch norm 0.5."""

    def train_one(net, seed, learning_rate, *_):
        accuracy = 0.1 + 0.3 * net.aux + 0.5 * net.batch_norm
        return {"loss": np.ones(10), "accuracy": accuracy, "ratio": 1.0}

    monkeypatch.setattr(study, "train_one", train_one)
    result = study.study(num_seeds=2)
    for label, accuracy in (("neither", 0.1), ("auxiliary heads", 0.4), ("batch norm", 0.6), ("both", 0.9)):
        np.testing.assert_allclose(result.numbers[f"test accuracy, {label}"], accuracy)
    assert not result.holds  # they help both times
    np.testing.assert_allclose(result.headline.values, 0.3)


@pytest.mark.covers("ZO-27")
def test_the_heads_count_with_their_weight_and_the_last_layer_is_reported():
    """Logits (1, 0) and (0, 2), and heads that say (0, 0) throughout; labels are 0."""
    logits, labels = jnp.array([[1.0, 0.0], [0.0, 2.0]]), jnp.zeros(2, jnp.int32)

    class Net:
        aux = True

        def apply(self, variables, x, train, *, method, rngs, mutable):
            assert (method, train) == ("auxiliary", True)
            return (logits, {"aux1": jnp.zeros((2, 2)), "aux2": jnp.zeros((2, 2))}), {"batch_stats": {}}

    total, (last, _) = study.loss_of(Net(), 0.3, {}, {}, logits, labels, jax.random.key(0))
    own = (np.log(1 + np.exp(-1)) + np.log(1 + np.exp(2))) / 2
    assert float(last) == pytest.approx(own, rel=1e-5)
    assert float(total) == pytest.approx(own + 0.3 * 2 * np.log(2), rel=1e-5)


@pytest.mark.covers("ZO-27")
@pytest.mark.parametrize(("name", "aux", "norm"), [("neither", 0, 0), ("heads", 1, 0), ("norm", 0, 1), ("both", 1, 1)])
def test_a_net_has_the_parts_of_its_name(name, aux, norm):
    net = study.small_googlenet(*study.NETS[name], 0.05, ("4a",))
    assert (net.aux, net.batch_norm, net.width_mult, net.stem, net.modules) == (aux, norm, 0.05, "cifar", ("4a",))


@pytest.mark.slow
@pytest.mark.covers("ZO-27")
def test_one_step_of_training_by_hand(monkeypatch):
    """The loss is the sum of two modules' weights, the first three times: their gradients' norms are 3 and 1."""

    class Net:
        modules, aux = ("a", "b"), True

        def init(self, rngs, x):
            return {"params": {"inceptiona": jnp.ones(1), "inceptionb": jnp.ones(1)}, "batch_stats": jnp.zeros(())}

        def apply(self, variables, x):
            assert set(variables) == {"params", "batch_stats"}
            right = variables["params"]["inceptiona"] < 0.8  # 1 - 0.1 3 after the step
            return jnp.where(right, jnp.eye(10)[:2], jnp.eye(10)[5])

    def loss_of(net, weight, params, stats, x, labels, rng):
        value = weight * (3 * params["inceptiona"] + params["inceptionb"]).sum()
        return value, (value / weight, stats)

    monkeypatch.setattr(study, "loss_of", loss_of)
    data = jnp.zeros((2, 8, 8, 1)), jnp.array([0, 1])
    row = study.train_one.__wrapped__(Net(), 0, 0.1, 1.0, data, data, 1, 2)
    assert {name: float(jnp.squeeze(value)) for name, value in row.items()} == pytest.approx(
        {"loss": 4, "accuracy": 1, "ratio": 3}
    )
