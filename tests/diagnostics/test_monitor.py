"""What a look inside a network sees, and that planted faults are found by their names."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.classification import supervised
from dlcore.diagnostics.monitor import activations, findings, snapshot, update_ratios
from dlcore.learner import Learner
from dlcore.models import create_model


class State(NamedTuple):
    params: dict
    scale: float


class Net(nn.Module):
    activation: object = nn.relu
    bias: float = 0.0
    depth: int = 1
    scale: float = 1.0

    @nn.compact
    def __call__(self, x, train=False):
        x = x.reshape(x.shape[0], -1)
        for i in range(self.depth):
            init = nn.initializers.normal(self.scale / np.sqrt(x.shape[-1]))
            bias = nn.initializers.constant(self.bias)
            x = self.activation(nn.Dense(16, kernel_init=init, bias_init=bias, name=f"hidden{i}")(x))
        return nn.Dense(10, name="head")(x)


BATCH = {
    "image": np.random.default_rng(0).normal(size=(32, 4, 4, 1)).astype(np.float32),
    "label": np.arange(32, dtype=np.int32) % 10,
    "index": np.arange(32, dtype=np.int32),
}


def see(model, optimizer=None):
    learner = supervised.learner(model=model, optimizer=optimizer or optax.sgd(0.1))
    state = jax.jit(learner.init)(jax.random.key(0), BATCH)
    return learner, state, jax.device_get(jax.jit(lambda s: snapshot(learner, s, BATCH))(state))


@pytest.mark.covers("TR-09", "TR-10")
def test_an_update_ratio_is_the_length_of_the_step_over_that_of_the_weight():
    # 3, 4 -> 3.3, 4.4: .5 over 5; from zeros, the length of the step itself.
    old, new = {"a": np.float32([3, 4]), "b": np.zeros(2, np.float32)}, {"a": np.float32([3.3, 4.4]), "b": np.ones(2)}
    ratios = jax.jit(update_ratios)(old, new)
    assert float(ratios["a"]) == pytest.approx(0.1, rel=1e-5)
    assert float(ratios["b"]) == pytest.approx(np.sqrt(2))


@pytest.mark.slow
@pytest.mark.covers("TR-09", "TR-10")
def test_the_ratio_of_an_sgd_step_is_rate_times_gradient_over_weight():
    learner, state, seen = see(Net(bias=0.1))
    gradients = jax.jit(jax.grad(lambda p: learner.loss(p, state, BATCH)[0]))(state.params)
    for layer in ("hidden0", "head"):
        w, g = state.params[layer]["kernel"], gradients[layer]["kernel"]
        by_hand = 0.1 * np.linalg.norm(g) / np.linalg.norm(w)
        assert seen["updates"][f"{layer}/kernel"] == pytest.approx(by_hand, rel=1e-4)
        numbers = seen["gradients"][f"{layer}/kernel"]
        assert numbers["norm"] == pytest.approx(np.linalg.norm(g), rel=1e-4)
        np.testing.assert_array_equal(numbers["counts"], np.histogram(g, numbers["edges"])[0])
        assert (numbers["edges"][0], numbers["edges"][-1]) == (pytest.approx(g.min()), pytest.approx(g.max()))


@pytest.mark.covers("TR-10")
@pytest.mark.parametrize(("rate", "advice"), [(1e-6, "raise the rate"), (100.0, "lower the rate"), (None, None)])
def test_ratios_outside_of_the_band_are_remarked_on(rate, advice):
    seen = {"updates": {"a/kernel": rate or 1e-3, "a/bias": 1.0}, "gradients": {}, "activations": {}}
    problems = findings(seen)
    assert [f.kind for f in problems] == ([] if advice is None else ["updates"])
    assert advice is None or advice in problems[0].message
    for edge in (1e-4, 1e-2):
        assert findings({**seen, "updates": {"a/kernel": edge}}) == []


@pytest.mark.covers("TR-19")
def test_a_unit_that_gives_zero_for_every_example_is_dead():
    """Of relu(3 - 100) and relu(3 - 0), the first gives 0 for all; a leaky activation has no dead unit."""

    def share(activation):
        shift = jnp.array([100.0, 0.0])
        found = jax.jit(lambda x: activations(lambda x: activation(x - shift), x))(np.full((5, 2), 3, np.float32))
        return {name: float(numbers["dead"]) for name, numbers in found.items()}

    assert share(jax.nn.relu) == {"relu": 0.5}
    assert share(jax.nn.leaky_relu)["leaky_relu"] == 0.0


def test_statistics_of_activations_by_numpy():
    x = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32)
    x[:, :, 1] = -1.0
    net = lambda x: (jax.nn.relu(jax.nn.relu(x) - 0.5), jax.nn.relu(x[0, 0]))  # noqa: E731

    @jax.jit
    def run(x):
        flat, infinite = (activations(jax.nn.relu, jnp.full((2, 3), value)) for value in (-1.0, jnp.inf))
        return list(activations(net, x).values()), flat["relu"], infinite["relu"]["finite"]

    found, flat, is_finite = run(x)
    first = np.maximum(x, 0)
    for one, value in zip(found, (first, np.maximum(first - 0.5, 0)), strict=True):
        assert (one["mean"], one["std"], one["dead"]) == pytest.approx((value.mean(), value.std(), 1 / 4), rel=1e-5)
        counts, edges = np.histogram(value, 32)
        np.testing.assert_array_equal(one["counts"], counts)
        np.testing.assert_allclose(one["edges"], edges, rtol=1e-6)
        assert one["finite"]
    np.testing.assert_allclose(flat["edges"], np.linspace(0, 1, 33), atol=1e-6)  # of one value
    assert (flat["dead"], is_finite) == (1, False)


def test_a_snapshot_by_hand():
    """w = (3, 4) moves by -(0.3, 0.4), 0.1 of its length; twice the half of its square has the gradient (6, 8)."""

    def update(state, batch):
        return state._replace(params={"layer": {"kernel": 0.9 * state.params["layer"]["kernel"]}}), {}

    def loss(params, state, batch):
        return jnp.square(params["layer"]["kernel"]).sum() / 2 * state.scale, {}

    state = State({"layer": {"kernel": np.float32([3, 4])}}, 2.0)
    learner = Learner(
        init=None, update=update, evaluate=None, loss=loss, predict=lambda state, batch: jnp.tanh(batch["x"])
    )
    batch = {"x": np.float32([[0, 9]])}
    seen, silent = jax.jit(lambda s: [snapshot(part, s, batch) for part in (learner, learner._replace(loss=None))])(
        state
    )
    assert float(seen["updates"]["layer/kernel"]) == pytest.approx(0.1, rel=1e-5)
    numbers = seen["gradients"]["layer/kernel"]
    assert float(numbers["norm"]) == pytest.approx(10)
    np.testing.assert_array_equal(np.flatnonzero(numbers["counts"]), [0, 31])
    np.testing.assert_allclose(np.asarray(numbers["edges"])[[0, 32]], [6, 8])
    assert float(seen["activations"]["tanh"]["saturated"]) == 0.5
    assert silent["gradients"] == {}


@pytest.mark.weekly
@pytest.mark.covers("TR-19")
def test_dead_units_are_found_and_a_leaky_activation_has_none():
    dead = see(Net(bias=-100.0))[2]
    assert dead["activations"]["relu"]["dead"] == 1.0
    assert findings(dead)[0].kind == "dead"
    assert "100% of the units of relu give 0 for every example" in findings(dead)[0].message
    leaky = see(Net(activation=nn.leaky_relu, bias=-100.0))[2]
    assert leaky["activations"]["leaky_relu"]["dead"] == 0.0
    assert see(Net())[2]["activations"]["relu"]["dead"] == 0.0


@pytest.mark.slow
@pytest.mark.weekly(unless=["1.4-None"])
@pytest.mark.covers("TR-20")
@pytest.mark.parametrize(("scale", "kind"), [(0.1, "vanishing"), (30.0, "exploding"), (1.4, None)])
def test_signals_that_vanish_or_explode_with_depth_are_found(scale, kind):
    seen = see(Net(depth=8, scale=scale))[2]
    assert [f.kind for f in findings(seen) if f.kind in ("vanishing", "exploding")] == ([kind] if kind else [])
    # Eight layers multiply by about .06, 18 and .8 each; the first and the last that are seen are seven apart.
    sizes = [seen["activations"][name]["std"] for name in ("relu", "relu_8")]
    assert (sizes[1] / sizes[0] < 1e-3, sizes[1] / sizes[0] > 1e3) == (kind == "vanishing", kind == "exploding")


@pytest.mark.slow
@pytest.mark.weekly(only=["0.1-vanishing"])
@pytest.mark.covers("TR-20")
@pytest.mark.parametrize(("factor", "kind"), [(0.1, "vanishing"), (10.0, "exploding"), (2.0, None)])
def test_gradients_that_differ_from_the_first_to_the_last_kernel_are_found(factor, kind):
    order = [f"layer{i}/kernel" for i in range(5)]
    gradients = {name: {"norm": factor ** (4 - i), "finite": True} for i, name in enumerate(order)}
    problems = findings({"updates": {}, "gradients": gradients, "activations": {}}, order)
    assert [f.kind for f in problems] == (
        [kind] if kind else []
    )  # .1^4 and 10^4 against the bound of 10^3; 2^4 is fine
    saturated = see(Net(activation=nn.sigmoid, depth=8, scale=0.5))[2]  # each sigmoid takes three quarters away
    names = [f"hidden{i}/kernel" for i in range(8)]
    assert "vanishing" in [f.kind for f in findings(saturated, names)]


@pytest.mark.covers("TR-20")
def test_a_finding_names_the_gradient_that_is_not_finite():
    class Root(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            x = nn.Dense(16, kernel_init=nn.initializers.zeros, name="hidden")(x.reshape(x.shape[0], -1))
            return nn.Dense(10, name="head")(jnp.sqrt(x))

    seen = see(Root())[2]
    assert not seen["gradients"]["hidden/kernel"]["finite"], "a root has no slope at 0"
    first = findings(seen)[0]
    assert first.kind == "not finite"
    assert "hidden/kernel" in first.message
    assert "head/kernel" not in first.message


def numbers(std=1.0, dead=0.0, saturated=0.0, finite=True):
    """Return what a snapshot measures of an activation."""
    return {"std": std, "dead": dead, "saturated": saturated, "finite": finite}


def test_findings_of_a_snapshot_come_the_worst_first():
    gradients = {name: {"norm": 1.0, "finite": name == "kernel"} for name in ("kernel", *"abcdef")}
    seen = {
        "updates": {"x/kernel": 0.5, "kernel": 1e-5, "still/kernel": 0.0, "x/bias": 5.0},
        "gradients": gradients,
        "activations": {"relu": numbers(1.0, 0.5), "tanh": numbers(1e-4, 0.49, 0.5), "more": numbers(0.01, 0.0, 0.49)},
    }
    found = findings({**seen, "activations": {**seen["activations"], "last": numbers(9e-4, finite=False)}})
    assert [f.kind for f in found] == ["not finite"] * 2 + ["vanishing", "dead", "saturated", "updates", "updates"]
    messages = [f.message for f in found]
    assert messages[0] == "gradients that are not finite: a, b, c, d, e"
    assert messages[1] == "activations that are not finite: last"
    assert messages[2].startswith("the signal at last is 9.0e-04 of that at relu: larger initial weights")
    assert messages[3].startswith("50% of the units of relu give 0 for every example")
    assert messages[4].startswith("50% of the values of tanh are saturated")
    assert [m.rpartition(": ")[2] for m in messages[5:]] == ["lower the rate", "raise the rate"]


@pytest.mark.parametrize(
    ("sizes", "kind"),
    [
        ([1.0, 1e3], None),
        ([1.0, 1.1e3], "exploding"),
        ([1.0, 1e-3], None),
        ([1.0, 9e-4], "vanishing"),
        ([1.0], None),
        ([0.0, 1e9], None),
        ([1.0, np.inf], None),
    ],
)
def test_sizes_may_differ_by_a_thousand_from_the_first_layer_to_the_last(sizes, kind):
    layers = {f"l{i}": numbers(size) for i, size in enumerate(sizes)}
    seen = {"updates": {}, "gradients": {}, "activations": layers}
    assert [f.kind for f in findings(seen)] == ([kind] if kind else [])
    gradients = {f"k{i}": {"norm": size, "finite": True} for i, size in enumerate(reversed(sizes))}
    seen = {"updates": {}, "gradients": gradients, "activations": {}}
    order = ["other", *gradients]
    assert [f.kind for f in findings(seen, order)] == ([kind] if kind else []), "from the output to the input"
    assert findings(seen) == []


def test_values_of_tanh_and_sigmoid_near_their_ends_are_saturated():
    """Of tanh's values .5, .76, .9993, -.9999, .5, 0, 1 and .961 three are beyond .97.

    Of sigmoid's, .0067 and .9975 are within .015 of an end, and .982 is not.
    """
    x = np.array([[0.55, 1, 4, -5], [0.55, 0, 6, 1.95]], np.float32)
    found = jax.jit(lambda x: activations(lambda x: (jnp.tanh(x), nn.sigmoid(x)), x))(x)
    assert {name: float(one["saturated"]) for name, one in found.items()} == {"tanh": 3 / 8, "sigmoid": 2 / 8}
    assert int(found["tanh"]["counts"].sum()) == 8


def test_activations_are_called_by_their_modules_and_counted():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.relu(nn.relu(nn.relu(x) - 1) - 1)

    class Stage(nn.Module):
        @nn.compact
        def __call__(self, x):
            return jnp.tanh(Block(name="block")(nn.relu(x)))

    seen = jax.eval_shape(lambda x: activations(lambda x: Stage(name="net").apply({}, x), x), np.zeros((2, 3)))
    assert sorted(seen) == ["block/relu", "block/relu_2", "block/relu_3", "relu", "tanh"]


@pytest.mark.weekly
def test_saturation_is_measured():
    seen = see(Net(activation=jnp.tanh, scale=50.0))[2]["activations"]["tanh"]
    assert seen["saturated"] > 0.9
    assert see(Net(activation=jnp.tanh, scale=0.1))[2]["activations"]["tanh"]["saturated"] == 0
    x = jnp.array([[0.0, 4.0, -5.0, 6.0]])
    # sigmoid: .5, .982, .0067, .9975; within .015 of an end are two of four.
    assert float(activations(nn.sigmoid, x)["sigmoid"]["saturated"]) == 0.5
    assert findings({"updates": {}, "gradients": {}, "activations": {"tanh": seen}})[0].kind == "saturated"


@pytest.mark.weekly
def test_histograms_count_every_value_and_names_are_the_modules():
    model = create_model("resnet8_cifar", num_classes=10)
    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
    variables = model.init(jax.random.key(1), x)
    seen = jax.device_get(jax.jit(lambda v: activations(model.apply, v, x))(variables))
    assert list(seen) == [
        "relu",
        "stage1_block0/relu",
        "stage1_block0/relu_2",
        "stage2_block0/relu",
        "stage2_block0/relu_2",
        "stage3_block0/relu",
        "stage3_block0/relu_2",
    ]
    first = seen["relu"]
    assert first["counts"].sum() == 4 * 8 * 8 * 16
    assert first["edges"][0] == 0
