"""Network in network: its count, its perceptrons by hand, and its head without parameters."""

import chex
import jax
import numpy as np
import pytest
from flax import linen as nn

from dlcore.models import create_model, feature_info
from dlcore.models.nin import MLPConv, NetworkInNetwork
from dlcore.ops import im2col
from tests.models.parity import parameter_count
from tests.models.training import compiled, draw

SMALL = {"stages": ((8, 6, 4), (8, 8, 8), (8, 8))}


@pytest.mark.covers("ZO-05")
def test_parameter_count():
    # 192 (25 3 + 1) + 160 (192 + 1) + 96 (160 + 1)       =  60,928
    # 192 (25 96 + 1) + 2 192 (192 + 1)                    = 535,104
    # 192 (9 192 + 1) + 192 (192 + 1) + 10 (192 + 1)       = 370,954
    assert parameter_count("nin_cifar") == 60_928 + 535_104 + 370_954 == 966_986


@pytest.mark.weekly
@pytest.mark.covers("ZO-05")
def test_the_logits_are_the_means_of_the_class_maps():
    model, x = create_model("nin_cifar", **SMALL), jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    model = model.clone(head_init=nn.initializers.normal(1.0))
    logits, variables = jax.jit(model.init_with_output)(jax.random.key(1), x)
    last = model.apply(variables, x, method="features")["stage3"]
    head = variables["params"]["head"]
    classes = np.maximum(last @ head["kernel"][0, 0] + head["bias"], 0)
    chex.assert_shape(classes, (2, 8, 8, 10))
    assert 0.1 < (classes == 0).mean() < 0.9
    np.testing.assert_allclose(logits, classes.mean((1, 2)), rtol=1e-5)
    assert sum("kernel" in layer for layer in variables["params"].values()) == 1  # no dense layer behind the maps


@pytest.mark.slow
@pytest.mark.covers("ZO-05")
def test_a_mlpconv_is_one_perceptron_on_every_patch():
    x = jax.random.normal(jax.random.key(0), (2, 5, 6, 3))
    layer = MLPConv((4, 5, 2), 3)
    variables = draw(layer, x)
    y = np.asarray(im2col(x, (3, 3), padding=1))
    for name in ("conv", "mlp_0", "mlp_1"):
        weights = variables["params"][name]
        y = np.maximum(y @ weights["kernel"].reshape(-1, weights["bias"].size) + weights["bias"], 0)
    np.testing.assert_allclose(compiled(layer, variables, x), y.reshape(2, 5, 6, 2), atol=1e-5)


def test_strides():
    assert feature_info(create_model("nin_cifar"), (32, 32, 3)) == {
        "stage1": {"stride": 1, "channels": 96},
        "stage2": {"stride": 2, "channels": 192},
        "stage3": {"stride": 4, "channels": 192},
    }


@pytest.mark.weekly
def test_dropout_acts_after_each_pooling_in_training_alone():
    assert create_model("nin_cifar").dropout == 0.5
    model, x = NetworkInNetwork(dropout=1.0, **SMALL), jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    variables = jax.jit(model.init)(jax.random.key(0), x)
    maps = model.apply(variables, x, True, method="features", rngs={"dropout": jax.random.key(1)})
    assert [bool(maps[f"stage{i}"].any()) for i in (1, 2, 3)] == [True, False, False]
    assert model.apply(variables, x, method="features")["stage3"].any()
