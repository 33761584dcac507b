"""Fully connected networks: counts, four views of one function, gradients, collapse, and learning."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.classic_ml import linear, mlp
from dlcore.data.digits import digits


def network(sizes, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return tuple(
        linear.Linear(w.weights, rng.normal(size=w.bias.shape).astype(dtype))
        for w in mlp.initialize(sizes, seed, dtype)
    )


@pytest.mark.covers("DD-19")
@pytest.mark.parametrize(
    ("sizes", "expected"),
    [((3, 4, 4, 1), (9, 32, 9, 41)), ((3, 4, 2), (6, 20, 6, 26)), ((3072, 10), (10, 30_720, 10, 30_730))],
)
def test_neurons_and_parameters_are_counted_without_the_inputs(sizes, expected):
    """3, 4, 4, 1: 4 + 4 + 1 = 9 neurons, 12 + 16 + 4 = 32 weights, 9 biases, 41 numbers to learn."""
    assert mlp.count(sizes) == expected
    assert sum(leaf.size for leaf in jax.tree.leaves(mlp.initialize(sizes))) == expected[-1]
    assert len(mlp.edges(sizes)) == expected[1]
    assert len(mlp.equations(sizes)) == expected[0]


@pytest.mark.covers("DD-19")
def test_the_four_views_are_one_function():
    """Matrices; cells one after the other; a walk over the edges of the graph; the equations, evaluated as text."""
    sizes = (3, 4, 4, 1)
    layers, x = network(sizes), np.array([0.3, -1.2, 0.8])
    with jax.enable_x64(True):
        expected = np.asarray(mlp.scores(layers, x[None]))[0]
    below = x
    for layer in layers[:-1]:
        below = [mlp.neuron(w, b, below) for w, b in zip(*layer, strict=True)]
    np.testing.assert_allclose(layers[-1].weights @ np.array(below) + layers[-1].bias, expected, rtol=1e-12)

    total = {(i + 1, j): float(b) for i, layer in enumerate(layers) for j, b in enumerate(layer.bias)}
    value = {(0, i): v for i, v in enumerate(x)}
    for (at, i), (to, j) in mlp.edges(sizes):
        if (at, i) not in value:
            value[at, i] = max(0, total[at, i])
        total[to, j] += float(layers[at].weights[j, i]) * value[at, i]
    assert total[3, 0] == pytest.approx(float(expected[0]))

    known = {f"x_{i}": v for i, v in enumerate(x)} | {"max": max}
    for number, layer in enumerate(layers, 1):
        known |= {f"w{number}_{j}{i}": float(w) for (j, i), w in np.ndenumerate(layer.weights)}
        known |= {f"b{number}_{j}": float(b) for j, b in enumerate(layer.bias)}
    for line in mlp.equations(sizes):
        name, term = line.split(" = ")
        for factor in sorted(known, key=len, reverse=True):
            term = term.replace(f"{factor} x_", f"{factor} * x_").replace(f"{factor} h", f"{factor} * h")
        known[name] = eval(term, {"__builtins__": {}}, known)
    assert known["s_0"] == pytest.approx(float(expected[0]))


@pytest.mark.slow(only=["sizes1"])
@pytest.mark.covers("DD-18")
@pytest.mark.parametrize("sizes", [(5, 4), (5, 7, 4), (5, 7, 6, 4)])
def test_gradients_by_hand_are_jaxs(sizes):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        layers = jax.tree.map(jnp.asarray, network(sizes))
        x, label = jnp.asarray(rng.normal(size=(9, 5))), rng.integers(0, 4, 9)

        def loss(layers):
            h = x
            for w, b in layers[:-1]:
                h = jax.nn.relu(h @ w.T + b)
            s = h @ layers[-1].weights.T + layers[-1].bias
            penalty = sum((layer.weights**2).sum() for layer in layers)
            return optax.softmax_cross_entropy_with_integer_labels(s, label).mean() + 0.05 * penalty

        value, found = jax.jit(mlp.gradients)(layers, x, label, 0.1)
        expected, theirs = jax.jit(jax.value_and_grad(loss))(layers)
        assert float(value) == pytest.approx(float(expected), rel=1e-12)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.covers("DD-20")
def test_linear_layers_in_a_row_are_one():
    layers = network((6, 5, 8, 3), dtype=np.float32)
    x = np.random.default_rng(1).normal(size=(20, 6)).astype(np.float32)
    stacked = x
    for layer in layers:
        stacked = linear.scores(layer, stacked)
    one = mlp.collapse(layers)
    chex.assert_shape(one.weights, (3, 6))
    np.testing.assert_allclose(linear.scores(one, x), stacked, atol=1e-5)
    assert np.abs(np.asarray(mlp.scores(layers, x)) - stacked).max() > 0.1  # with the kinks they are not


@pytest.mark.covers("DD-18")
def test_twenty_examples_are_learned_by_heart():
    data = digits("train").take(20).arrays
    model = mlp.train(data["image"], data["label"], l2=0, steps=1000, batch_size=20)
    assert model.losses[-10:].max() < 5e-3
    assert (mlp.predict(model, data["image"]) == data["label"]).all()


@pytest.mark.slow
@pytest.mark.covers("DD-18")
def test_two_layers_beat_one_on_digits():
    train, test = (digits(split).arrays for split in ("train", "test"))
    found = {}
    for hidden in ((), (100,)):
        model = mlp.train(train["image"], train["label"], hidden=hidden, steps=800)
        found[hidden] = (mlp.predict(model, test["image"]) == test["label"]).mean()
    assert found[100,] > found[()] + 0.005
    assert found[()] > 0.9


def test_weights_have_hes_deviation():
    (weights, bias), (last, _) = mlp.initialize((50, 400, 3), seed=1)
    assert (weights.shape, last.shape, weights.dtype, bias.any()) == ((400, 50), (3, 400), np.float32, False)
    assert weights.std() == pytest.approx((2 / 50) ** 0.5, rel=0.03)
    assert last.std() == pytest.approx((2 / 400) ** 0.5, rel=0.1)


@pytest.mark.slow
@pytest.mark.covers("DD-18")
def test_training_takes_steps_of_momentum_along_the_gradients():
    """With one class the loss is 0, and the penalty alone moves the weights."""
    x, label = np.float32([[2, -1], [1, 3]]), np.array([7, 7])
    settings = {"hidden": (4,), "l2": 0.2, "learning_rate": 0.1, "momentum": 0.5}
    model = mlp.train(x, label, steps=2, batch_size=3, seed=1, **settings)
    layers = [[layer.weights, layer.bias] for layer in mlp.initialize((2, 4, 1), 1)]
    assert model.classes.tolist() == [7]
    v = [[0, 0], [0, 0]]
    for _ in range(2):
        for layer, speed in zip(layers, v, strict=True):
            speed[0] = 0.5 * speed[0] + 0.2 * layer[0]
            layer[0] = layer[0] - 0.1 * speed[0]
    for ours, theirs in zip(model.layers, layers, strict=True):
        np.testing.assert_allclose(ours.weights, theirs[0], rtol=1e-5)
        np.testing.assert_allclose(ours.bias, 0, atol=1e-6)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"sizes=\(3,\): no network; allowed: an input and an output"):
        mlp.count([3])
