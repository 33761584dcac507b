"""The encoder over a backbone: average of the last map, heads by version, embeddings of length 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model
from dlcore.self_supervised.networks import Embedder, init_variables, unit


def toy(head):
    model = Embedder(create_model("resnet8_cifar", num_classes=1, width=4), head, 6)
    return model, init_variables(model, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))


@pytest.mark.covers("SS-16")
def test_version_two_adds_a_hidden_layer_to_version_one():
    shapes = {head: set(toy(head)[1]["params"]) for head in ("linear", "mlp", "mlp_norm")}
    assert shapes["mlp"] - shapes["linear"] == {"hidden"}
    assert shapes["linear"] <= shapes["mlp"]
    assert shapes["mlp_norm"] - shapes["mlp"] == {"hidden_bn"}


def test_features_are_the_average_of_the_last_map_and_embeddings_have_length_one():
    model, variables = toy("mlp")
    x = jax.random.normal(jax.random.key(1), (3, 8, 8, 1))
    out = model.apply(variables, x)
    backbone = {name: tree["backbone"] for name, tree in variables.items()}
    maps = model.backbone.apply(backbone, x, method="features")
    np.testing.assert_allclose(out["features"], maps["stage3"].mean((1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jnp.linalg.norm(out["embeddings"], axis=-1), 1, rtol=1e-5)
    assert out["features"].shape == (3, 16)
    assert out["embeddings"].shape == (3, 6)


def test_a_zero_vector_stays_zero_with_a_finite_gradient():
    value, gradient = jax.value_and_grad(lambda z: unit(z).sum())(jnp.zeros(3))
    assert value == 0
    assert np.isfinite(gradient).all()
