"""Guided backpropagation and the deconvnet: the rules by hand, and a ResNet-18 beside PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.interpretability.relu_rules import deconvnet_relu, guided_relu, replace_relu
from dlcore.interpretability.saliency import input_gradient

X, G = jnp.array([1.0, 1, -1, -1]), jnp.array([2.0, -2, 2, -2])
"""All four cases of the sign of a value and of the gradient that comes back."""


@pytest.mark.covers("VI-07")
@pytest.mark.parametrize(("rule", "passed"), [(guided_relu, [2, 0, 0, 0]), (deconvnet_relu, [2, 0, 2, 0])])
def test_backward_rules_of_relu_by_hand(rule, passed):
    value, back = jax.vjp(replace_relu(jax.nn.relu, rule), X)
    assert value.tolist() == rule(X).tolist() == [1, 1, 0, 0]
    assert back(G)[0].tolist() == passed
    mapped = jax.vmap(jax.grad(lambda x, g: g * replace_relu(jax.nn.relu, rule)(x)))(X, G)
    assert mapped.tolist() == passed


@pytest.mark.weekly
@pytest.mark.covers("VI-07")
def test_of_a_resnet18_they_are_those_of_torch(resnet18):
    def maps(x):
        rules = {"guided": guided_relu, "deconv": deconvnet_relu}
        return {k: input_gradient(replace_relu(resnet18.score, rule), x, resnet18.labels) for k, rule in rules.items()}

    for name, got in jax.jit(maps)(resnet18.images).items():
        resnet18.check(name, got)


def test_relus_in_functions_remat_and_jit_are_replaced_and_other_functions_kept():
    def net(x):
        x = jax.checkpoint(lambda x: jax.nn.relu(x) + jax.nn.silu(x))(x)
        return jax.jit(jax.nn.relu)(-x).sum()

    doubled = replace_relu(net, lambda x: 2 * jnp.maximum(x, 0))
    x = jnp.array([-0.5, 0.3])
    silu = x * jax.nn.sigmoid(x)
    np.testing.assert_allclose(doubled(x), 2 * np.maximum(-(2 * np.maximum(x, 0) + silu), 0).sum(), rtol=1e-6)


def test_trees_of_arguments_and_results_keep_their_shape():
    changed = replace_relu(lambda a: {"y": jax.nn.relu(a["x"]), "n": 3}, lambda x: x)
    assert changed({"x": X})["y"].tolist() == X.tolist()


def test_a_network_without_relu_and_one_with_a_relu_in_a_loop_are_named():
    with pytest.raises(ValueError, match=r"no jax\.nn\.relu"):
        replace_relu(jnp.tanh, guided_relu)(X)
