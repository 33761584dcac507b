"""Modules made of dlcore's layers: nested, in a Sequential, with a layer of one's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.nn import BatchNorm, Conv
from dlcore.ops import global_avg_pool, max_pool

pytestmark = pytest.mark.covers("SY-06")


class Scale(nn.Module):
    """A layer of one's own: one learned factor a channel."""

    @nn.compact
    def __call__(self, x):
        return x * self.param("factor", nn.initializers.constant(2.0), x.shape[-1:])


class Block(nn.Module):
    features: int

    def setup(self):
        self.conv = Conv(self.features, (3, 3), use_bias=False)
        self.norm = BatchNorm()
        self.scale = Scale()

    def __call__(self, x, train):
        return nn.relu(self.scale(self.norm(self.conv(x), use_running_average=not train)))


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        for i, features in enumerate((4, 6)):
            x = max_pool(Block(features, name=f"block{i}")(x, train), (2, 2), (2, 2))
        return nn.Dense(3, name="head")(global_avg_pool(x))


def images():
    return jnp.asarray(np.random.default_rng(0).normal(size=(4, 8, 8, 2)), jnp.float32)


def counts(params):
    return {name: sum(leaf.size for leaf in jax.tree.leaves(layer)) for name, layer in params.items()}


@pytest.mark.slow
def test_a_sequential_is_its_layers_one_after_the_other():
    layers = [Conv(4, (3, 3)), nn.relu, Scale(), Conv(5, (1, 1)), global_avg_pool, nn.Dense(3)]
    net = nn.Sequential(layers)
    variables = jax.jit(net.init)(jax.random.key(0), images())
    # 3 3 2 4 + 4; 4; 4 5 + 5; 5 3 + 3
    assert counts(variables["params"]) == {"layers_0": 76, "layers_2": 4, "layers_3": 25, "layers_5": 18}
    x = images()
    for i, layer in enumerate(layers):
        module = isinstance(layer, nn.Module)
        x = layer.apply({"params": variables["params"][f"layers_{i}"]}, x) if module else layer(x)
    np.testing.assert_allclose(net.apply(variables, images()), x, rtol=1e-5, atol=1e-6)


def test_nested_modules_own_their_parameters_and_statistics():
    variables = jax.jit(Net().init)(jax.random.key(0), images())
    # 3 3 2 4 + 2 4 + 4; 3 3 4 6 + 2 6 + 6; 6 3 + 3
    assert counts(variables["params"]) == {"block0": 84, "block1": 234, "head": 21}
    assert set(variables["params"]["block0"]) == {"conv", "norm", "scale"}
    assert counts(variables["batch_stats"]) == {"block0": 8, "block1": 12}


@pytest.mark.slow
def test_a_gradient_reaches_every_parameter_and_a_custom_layer_acts():
    variables = jax.jit(Net().init)(jax.random.key(0), images())

    def loss(params, train):
        logits, _ = Net().apply({**variables, "params": params}, images(), train=train, mutable=["batch_stats"])
        return jnp.square(logits - 1).sum()

    gradient = jax.jit(jax.grad(loss), static_argnums=1)(variables["params"], True)
    assert all(np.any(np.asarray(g) != 0) for g in jax.tree.leaves(gradient))
    x = images()
    doubled, layer = Scale().init_with_output(jax.random.key(0), x)
    np.testing.assert_array_equal(doubled, 2 * x)
    np.testing.assert_allclose(
        jax.grad(lambda v: Scale().apply(v, x).sum())(layer)["params"]["factor"], x.sum((0, 1, 2)), rtol=1e-4
    )
