"""Each name stands for its function, by hand; the claim."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import activations as study


def test_each_name_stands_for_its_function():
    """At 2 and -0.4 (and at -0.4 only where the two agree with no other)."""
    x = np.array([2.0, -0.4])
    grow, sigmoid = np.exp(x), 1 / (1 + np.exp(-x))
    erf = np.array([0.95449974, -0.31084348])  # of x / sqrt(2)
    elu = np.array([2, np.exp(-0.4) - 1])
    want = {
        "relu": [2, 0],
        "leaky_relu": [2, -0.004],
        "elu": elu,
        "celu": elu,
        "selu": 1.0507009873554805 * np.array([2, 1.6732632423543772 * elu[1]]),
        "gelu": x * (1 + erf) / 2,
        "silu": x * sigmoid,
        "mish": x * np.tanh(np.log1p(grow)),
        "softplus": np.log1p(grow),
        "relu6": [2, 0],
        "hard_swish": x * (x + 3) / 6,
        "sigmoid": sigmoid,
        "hard_sigmoid": (x + 3) / 6,
        "log_sigmoid": np.log(sigmoid),
        "tanh": np.tanh(x),
        "hard_tanh": [1, -0.4],
        "soft_sign": x / (1 + np.abs(x)),
        "tanh_shrink": x - np.tanh(x),
        "soft_shrink": [1.5, 0],
        "hard_shrink": [2, 0],
    }
    got = jax.jit(lambda x: {name: function(x) for name, function in study.FUNCTIONS.items()})(jnp.asarray(x))
    assert set(got) == set(want)
    for name, values in got.items():
        np.testing.assert_allclose(values, want[name], atol=1e-3 if name == "gelu" else 1e-5, err_msg=name)
    assert float(jax.jit(study.FUNCTIONS["relu6"])(7.0)) == 6
    assert float(jax.jit(study.FUNCTIONS["hard_shrink"])(-0.6)) == pytest.approx(-0.6)


@pytest.mark.parametrize(
    ("name", "leaves"),
    [("relu", {"dense0", "dense1", "head"}), ("PReLU", {"dense0", "dense1", "head", "slope0", "slope1"})],
)
def test_nets_have_the_parameters_of_their_activation(name, leaves):
    net = study.DeepNet(name, 2, 3)
    assert set(jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 4)), False)["params"]) == leaves


def test_maxout_has_several_layers_in_one():
    maxout, relu = (
        jax.eval_shape(study.DeepNet(name, 1, 3).init, jax.random.key(0), jnp.zeros((1, 4)), False)["params"]["dense0"]
        for name in ("Maxout", "relu")
    )
    count = [sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in (maxout, relu)]
    assert count[1] == 4 * 3 + 3
    assert count[0] == 2 * count[1]


def test_the_claim_wants_every_rectifier_above_both_on_every_seed():
    good = {name: np.array([0.9, 0.9]) for name in ("relu", "leaky_relu", "PReLU", "elu", "gelu", "silu")}
    low = {"sigmoid": np.array([0.1, 0.2]), "hard_shrink": np.array([0.1, 0.1])}
    assert study.judge({**good, **low})
    for name in good:
        assert not study.judge({**good, **low, name: np.array([0.9, 0.25])}), name
    for name in low:
        assert not study.judge({**good, **low, name: np.array([0.1, 0.85])}), name
