"""The study of batch norm: what it trains and measures, and that each part of its verdict turns with its numbers."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import batch_norm
from experiments.studies.batch_norm import Net, largest_stable, starts

KEY = jax.random.key(0)
RATES = 2.0 ** np.arange(5)


@pytest.mark.covers("NO-13")
def test_the_largest_stable_rate_is_the_end_of_the_run_around_the_best():
    # the best is the second; the third is below the limit, the fourth is not, the fifth is luck
    assert largest_stable(np.array([0.9, 0.1, 0.4, 2.0, 0.3]), RATES, 0.5) == 4
    assert largest_stable(np.array([0.9, 0.1, 0.4, np.inf, np.inf]), RATES, 0.5) == 4
    assert largest_stable(np.array([0.9, 0.8, 0.4, 0.3, 0.2]), RATES, 0.5) == 16
    assert largest_stable(np.array([2.3, 2.3, 2.3, np.inf, np.inf]), RATES, 0.5) == 0


@pytest.mark.weekly
@pytest.mark.covers("NO-12", "NO-13")
def test_where_the_nets_normalize():
    x = 3 + 2 * jax.random.normal(KEY, (64, 64))

    def seen(net, train=True):
        def inputs():
            variables = jax.tree.map(lambda v: v[0, 0], starts(net, ["Kaiming"], 1))
            return net.apply(variables, x, train, KEY, mutable=[k for k in variables if k != "params"])[0][1]

        return jax.jit(inputs)()

    before, after, noisy = (
        seen(Net(norm, b, 8, 2)) for norm, b in (("batch", True), ("batch", False), ("noisy", True))
    )
    np.testing.assert_allclose(before.mean(1), 0, atol=1e-4)
    np.testing.assert_allclose(before.std(1), 1, atol=1e-3)
    np.testing.assert_allclose(after[0], seen(Net("none", True, 8, 2))[0], rtol=1e-5)  # the first ReLU sees x W
    assert float(jnp.abs(after.mean(1)).max()) > 0.5
    assert 0.1 < float(jnp.abs(noisy.mean(1)).mean()) < 0.6  # 0.3 randn
    a, b = (
        jax.jit(lambda norm=norm: starts(Net(norm, True, 8, 2), ["0.05 randn", "Xavier"], 2)["params"]["dense1"])()
        for norm in ("none", "batch")
    )
    np.testing.assert_array_equal(a["kernel"], b["kernel"])
    chex.assert_shape(a["kernel"], (2, 2, 8, 8))
    assert float(jnp.abs(a["kernel"][0, 0] - a["kernel"][0, 1]).max()) > 0.01


def training(batch=(0.1, 8.0), none=(0.2, 2.0), turn=(0.1, 1.0), spread=(0.1, 1.0)):
    """Numbers of 4 starts, 2 seeds and RATES as the study makes them, (batch norm, plain) each."""
    results, stable, tuned = {}, {}, {}
    for i, (norm, (low, _)) in enumerate({"batch": batch, "none": none}.items()):
        loss = np.full((4, 2, 5), low)
        loss[0] += spread[i]
        loss[:, :, 3 - i :] = np.inf
        results[norm] = {"loss": loss, "accuracy": np.full_like(loss, 0.9)}
        tuned[norm] = 2 - i
    stable = {"batch": [batch[1]] * 2, "none": [none[1]] * 2}
    results["noisy"] = {"loss": np.full((1, 2, 1), 0.3)}
    ahead = {
        norm: {"turn": np.full((2, 3), t), "loss": np.ones((2, 3)), "shift": np.full((2, 3), s)}
        for norm, t, s in (("none", turn[1], 0.2), ("batch", turn[0], 0.01), ("noisy", 0.5, 0.4))
    }
    return list(batch_norm.INITS), RATES, results, stable, tuned, ahead


@pytest.mark.covers("NO-13")
def test_each_part_of_the_verdict_turns():
    good = batch_norm.report(*training())
    assert good.holds
    assert "4 to 4 times as high with batch norm (best rates 4 and 2): at least three times" in good.verdict
    assert "less on every seed" in good.verdict
    assert "smoother" in good.verdict
    assert "is not what batch norm needs" in good.verdict
    for changed, words in (
        ({"batch": (0.1, 4.0)}, "NOT three times"),
        ({"spread": (1.5, 1.0)}, "NOT less on every seed"),
        ({"turn": (1.1, 1.0)}, "NOT smoother"),
    ):
        result = batch_norm.report(*training(**changed))
        assert words in result.verdict
        assert not result.holds
    unsettled = training()
    unsettled[2]["noisy"]["loss"][:] = np.inf
    assert "may be what batch norm needs" in batch_norm.report(*unsettled).verdict
    assert batch_norm.report(*training(none=(0.2, 0.0))).numbers["ratio of the largest stable rates"] == [np.inf] * 2


@pytest.mark.weekly
@pytest.mark.covers("NO-13")
def test_the_smoke_version_of_the_study():
    result = batch_norm.study(**batch_norm.experiment.smoke | {"depth": 1, "hidden": 8, "steps": 40})
    for norm in ("plain", "batch norm"):
        for name in batch_norm.INITS:
            assert np.isfinite(result.numbers[f"final loss from {name}, {norm}"]).all()
        assert result.numbers[f"turn of the gradient, {norm}"][0] > 0
    assert result.numbers["final loss, batch norm"][0] < 1.5
    noisy, steady = (
        result.numbers[f"shift of the last layer's inputs, {n}"][0] for n in ("noisy batch norm", "batch norm")
    )
    assert noisy > 5 * steady


@pytest.mark.covers("NO-12", "NO-13")
@pytest.mark.parametrize("norm", ["none", "batch", "noisy"])
def test_a_net_normalizes_as_its_name_says(norm):
    """Inputs of the ReLUs of one layer with kernel 2 and bias 5: as they are, of moments 0 and 1, or moved by noise."""
    x = np.random.default_rng(0).normal(size=(8, 1)).astype(np.float32)
    net, variables = Net(norm, hidden=1, depth=1), {}
    params = {"dense0": {"kernel": np.full((1, 1), 2.0), "bias": np.full(1, 5.0)}}
    params["head"] = {"kernel": np.zeros((1, 10)), "bias": np.zeros(10)}
    if norm != "none":
        params["norm0"] = {"scale": np.ones(1), "bias": np.zeros(1)}
        variables["batch_stats"] = {"norm0": {"mean": np.zeros(1), "var": np.ones(1)}}
    variables = jax.tree.map(np.float32, {"params": params, **variables})
    apply = jax.jit(lambda v: net.apply(v, x, True, KEY, mutable=[name for name in v if name != "params"])[0][1])
    seen = np.asarray(apply(variables))[0, :, 0]
    before = 2 * x[:, 0] + 5
    if norm == "none":
        np.testing.assert_allclose(seen, before, rtol=1e-5)
        return
    standardized = (before - before.mean()) / before.std()
    np.testing.assert_allclose((seen - seen.mean()) / seen.std(), standardized, atol=1e-4)
    assert (abs(seen.mean()) < 1e-5, seen.std() == pytest.approx(1, abs=1e-3)) == ((norm == "batch"),) * 2


@pytest.mark.parametrize(
    ("name", "std"),
    # 100 inputs: the roots of 1 / 100 and of 2 / 100
    [("0.01 randn", 0.01), ("0.05 randn", 0.05), ("Xavier", 0.1), ("Kaiming", 0.1414)],
)
def test_a_start_has_the_deviation_of_its_name(name, std):
    assert list(batch_norm.INITS) == ["0.01 randn", "0.05 randn", "Xavier", "Kaiming"]
    assert batch_norm.INITS[name](KEY, (100, 400)).std() == pytest.approx(std, rel=0.03)


def test_kernels_are_drawn_and_norms_start_at_one():
    tree = starts(Net("batch", hidden=4, depth=1), ["Xavier"], 1)
    norm, statistics = tree["params"]["norm0"], tree["batch_stats"]["norm0"]
    assert (norm["scale"].min(), norm["bias"].max(), statistics["mean"].max(), statistics["var"].min()) == (1, 0, 0, 1)
    assert tree["params"]["dense0"]["bias"].max() == 0
    chex.assert_shape(tree["params"]["dense0"]["kernel"], (1, 1, 64, 4))
    assert tree["params"]["dense0"]["kernel"].std() == pytest.approx(1 / 8, rel=0.2)  # of 64 inputs


def test_descent_and_probes_by_hand():
    """Logits are (p, 0), labels 0: the loss is log(1 + e^-p), its gradient -s(-p). From p = 0 a step of rate 1/2 leads
    to 1/4, and steps of 1 and 4 times the gradient to 1/2 and 2, where it is 1 - tanh(1) as large. Inputs of the last
    layer are p + 1 and p + 3: their mean moves by 1/4 of their deviation."""

    class Line:
        def apply(self, tree, x, train, rng, mutable):
            logits = jnp.stack([tree["params"], jnp.zeros(())])[None].repeat(len(x), 0)
            return (logits, tree["params"] + jnp.array([[[1.0], [3.0]]])), {"batch_stats": tree["batch_stats"] + 1}

    net, train = Line(), (jnp.zeros((2, 64)), jnp.zeros(2, int))
    variables = {"params": jnp.array(0.0), "batch_stats": jnp.array(10)}
    after, losses = batch_norm.descend(net, 0.5, KEY, *train, 2, variables, jnp.arange(1))
    assert (float(after["params"]), int(after["batch_stats"]), losses[0]) == (0.25, 11, pytest.approx(np.log(2)))
    variables = jax.tree.map(lambda leaf: leaf[None], variables)
    rows = batch_norm.probe_all(net, variables, 0.5, jnp.array([1.0, 4.0]), train, 0, 1, 2)
    assert {name: float(value[0, 0]) for name, value in rows.items()} == {
        "turn": pytest.approx(np.tanh(1), rel=1e-5),
        "loss": pytest.approx(1 - np.log(1 + np.exp(-2)) / np.log(2), rel=1e-5),
        "shift": pytest.approx(1 / 4, rel=1e-4),
    }


def test_accuracy_is_of_the_test_and_dead_units_are_of_training():
    class Fake:
        def apply(self, variables, x, train, rng, mutable=False):
            assert (train, mutable) in ((False, False), (True, ["batch_stats"]))
            output = jnp.eye(10)[jnp.array([0, 1, 2, 3])], jnp.array([[[-1.0, 1, 1]] * 4])
            return (output, {}) if train else output

    data = jnp.zeros((4, 64)), jnp.array([0, 1, 2, 9])
    measures = batch_norm.measured(Fake(), {"params": 0, "batch_stats": 0}, data, data)
    assert {name: float(value) for name, value in measures.items()} == pytest.approx({"accuracy": 0.75, "dead": 1 / 3})
