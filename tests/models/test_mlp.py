import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.models import create_model
from tests.models.training import draw


def images():
    return jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 5, 2)), jnp.float32)


@pytest.mark.slow
def test_is_the_stated_composition():
    model = create_model("mlp", hidden=(6, 5), activation="tanh", head_init=nn.initializers.ones)
    variables = jax.jit(model.init)(jax.random.key(0), images())
    p = variables["params"]
    one = jnp.tanh(images().reshape(3, 40) @ p["dense1"]["kernel"] + p["dense1"]["bias"])
    two = jnp.tanh(one @ p["dense2"]["kernel"] + p["dense2"]["bias"])
    np.testing.assert_allclose(model.apply(variables, images()), two @ p["head"]["kernel"], rtol=1e-5, atol=1e-6)
    stages = model.apply(variables, images(), method="features")
    np.testing.assert_allclose(stages["hidden1"], one, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(stages["hidden2"], two, rtol=1e-5, atol=1e-6)
    # 40 6 + 6, 6 5 + 5, 5 10 + 10
    assert sum(leaf.size for leaf in jax.tree.leaves(p)) == 246 + 35 + 60


def test_without_hidden_layers_it_is_linear():
    model = create_model("mlp", hidden=(), head_init=nn.initializers.lecun_normal())
    variables = jax.jit(model.init)(jax.random.key(0), images())
    a, b = model.apply(variables, images()), model.apply(variables, 2 * images())
    np.testing.assert_allclose(b, 2 * a, rtol=1e-5)
    assert list(variables["params"]) == ["head"]
    assert model.apply(variables, images(), method="features") == {}


@pytest.mark.parametrize(
    ("name", "function"), [("relu", nn.relu), ("sigmoid", nn.sigmoid), ("gelu", nn.gelu), ("identity", lambda x: x)]
)
def test_activations(name, function):
    model = create_model("mlp", hidden=(6,), activation=name)
    variables = jax.jit(model.init)(jax.random.key(0), images())
    before = images().reshape(3, 40) @ variables["params"]["dense1"]["kernel"]
    got = model.apply(variables, images(), method="features")["hidden1"]
    np.testing.assert_allclose(got, function(before), rtol=1e-5, atol=1e-6)


def test_dropout_acts_in_training_only():
    model = create_model("mlp", hidden=(400,), dropout=0.25, head_init=nn.initializers.ones)
    variables = draw(model, images())
    variables["params"]["head"]["kernel"] = np.ones_like(variables["params"]["head"]["kernel"])

    @jax.jit
    def run(seed):
        return model.apply(variables, images(), train=True, rngs={"dropout": jax.random.key(seed)})

    use = jax.jit(model.apply)(variables, images())

    np.testing.assert_array_equal(run(0), run(0))
    assert not np.allclose(run(0), run(1))
    # The head of ones sums 400 units, each kept with probability 0.75 and divided by it.
    mean = np.mean([run(seed)[:, 0] for seed in range(50)], 0)
    np.testing.assert_allclose(mean, use[:, 0], rtol=0.03)


@pytest.mark.covers("RG-06")
def test_vanilla_dropout_keeps_units_in_training_and_scales_them_in_use():
    """Units are 1: in training 0 or 1, with their number between 250 and 350 of 400; in use each is 0.75."""
    ones = {"activation": "identity", "hidden": (400,), "dropout": 0.25, "dropout_form": "vanilla", "num_classes": 1}
    model, x = create_model("mlp", **ones), jnp.ones((1, 1))
    params = {
        "dense1": {"kernel": jnp.ones((1, 400)), "bias": jnp.zeros(400)},
        "head": {"kernel": jnp.ones((400, 1)), "bias": jnp.zeros(1)},
    }
    trained = float(model.apply({"params": params}, x, train=True, rngs={"dropout": jax.random.key(0)})[0, 0])
    assert trained == round(trained)
    assert 250 < trained < 350
    assert float(model.apply({"params": params}, x)[0, 0]) == pytest.approx(300)


@pytest.mark.covers("RG-09")
def test_weights_are_dropped_in_training_for_each_example():
    """400 weights of 1, a fourth dropped, the others divided by 0.75: about 400, another number for each example."""
    model = create_model("mlp", hidden=(1,), activation="identity", drop_connect=0.25, num_classes=1)
    params = {
        "dense1": {"kernel": np.ones((400, 1), np.float32), "bias": np.zeros(1, np.float32)},
        "head": {"kernel": np.ones((1, 1), np.float32), "bias": np.zeros(1, np.float32)},
    }
    x = np.ones((2, 400), np.float32)

    @jax.jit
    def run(params, key):
        apply = functools.partial(model.apply, {"params": params}, x)
        return apply(train=True, rngs={"dropout": key})[:, 0], apply()

    (one, other), use = run(params, jax.random.key(0))
    assert float(one) != float(other)
    for value in (one, other):
        kept = float(value) * 0.75
        assert kept == pytest.approx(round(kept), abs=1e-3)
        assert 250 < kept < 350
    np.testing.assert_allclose(use, 400)
