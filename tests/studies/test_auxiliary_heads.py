"""Auxiliary heads and batch norm: the nets, the loss by hand, and the verdict."""

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
