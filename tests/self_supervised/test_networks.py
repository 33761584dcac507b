"""The encoder over a backbone: average of the last map, heads by version, embeddings of length 1."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.augment import recipes
from dlcore.models import create_model
from dlcore.self_supervised.networks import Embedder, init_variables, unit
from dlcore.self_supervised.patch_predictors import PatchViT
from tests.wiring import assert_wiring


def toy(head):
    model = Embedder(create_model("resnet8_cifar", num_classes=1, width=4), head, 6)
    return model, init_variables(model, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))


@pytest.mark.weekly
@pytest.mark.covers("SS-16")
def test_version_two_adds_a_hidden_layer_to_version_one():
    shapes = {head: set(toy(head)[1]["params"]) for head in ("linear", "mlp", "mlp_norm")}
    assert shapes["mlp"] - shapes["linear"] == {"hidden"}
    assert shapes["linear"] <= shapes["mlp"]
    assert shapes["mlp_norm"] - shapes["mlp"] == {"hidden_bn"}


@pytest.mark.slow
@pytest.mark.covers("SS-16")
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_heads_of_both_versions_by_hand(head):
    """Version 1: z = W h + b. Version 2: z = W max(0, V h + c) + b, V square. Both to length 1."""
    model, variables = toy(head)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda w: jnp.asarray(w + 0.3 * rng.normal(size=w.shape), w.dtype), variables)
    out = model.apply(variables, jax.random.normal(jax.random.key(1), (3, 8, 8, 1)))
    h, params = np.asarray(out["features"], np.float64), variables["params"]
    if head == "mlp":
        chex.assert_shape(params["hidden"]["kernel"], (16, 16))
        h = np.maximum(h @ params["hidden"]["kernel"] + params["hidden"]["bias"], 0)
    z = h @ params["projection"]["kernel"] + params["projection"]["bias"]
    np.testing.assert_allclose(out["embeddings"], z / np.linalg.norm(z, axis=1, keepdims=True), atol=1e-5)


@pytest.mark.covers("SS-16")
def test_the_page_trains_version_two(monkeypatch):
    """Chen et al. 2020: a hidden layer in the head, blur with chance .5 and deviation .1 to 2, cosine, tau = .2."""
    from experiments.self_supervised.moco import experiment

    blurs = []
    monkeypatch.setattr(recipes.jitter, "random_blur", lambda *settings: blurs.append(settings) or (lambda k, x: x))
    recipes.contrastive_augmentation("color")
    assert blurs == [((0.1, 2.0), 0.5)]
    assert Embedder.head == "mlp"
    assert experiment.merged.defaults["temperature"] == 0.2
    assert not {"embedder.head", "schedule"} & set(experiment.merged.defaults)
    assert experiment.merged.settings["schedule"].default == "cosine"


@pytest.mark.slow
def test_features_are_the_average_of_the_last_map_and_embeddings_have_length_one():
    model, variables = toy("mlp")
    x = jax.random.normal(jax.random.key(1), (3, 8, 8, 1))
    out = model.apply(variables, x)
    backbone = {name: tree["backbone"] for name, tree in variables.items()}
    maps = model.backbone.apply(backbone, x, method="features")
    np.testing.assert_allclose(out["features"], maps["stage3"].mean((1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jnp.linalg.norm(out["embeddings"], axis=-1), 1, rtol=1e-5)
    chex.assert_shape(out["features"], (3, 16))
    chex.assert_shape(out["embeddings"], (3, 6))


def test_a_zero_vector_stays_zero_with_a_finite_gradient():
    value, gradient = jax.value_and_grad(lambda z: unit(z).sum())(jnp.zeros(3))
    assert value == 0
    assert np.isfinite(gradient).all()


def test_the_wiring_of_patch_vi_t_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(PatchViT(4, 1, 8, 2, 12), (1, 8, 8, 3), [17.0266, -22.9074])
