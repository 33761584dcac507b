"""AlexNet against torchvision; the two towers against two towers by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.models import create_model, feature_info
from dlcore.models.alexnet import AlexNet
from dlcore.nn import local_response_norm
from tests.models.parity import parameter_count
from tests.models.training import compiled

SMALL = {"widths": (4, 8, 8, 8, 4), "hidden": 16}


@pytest.mark.covers("ZO-02")
def test_parameters_of_two_towers():
    # kernels of conv 2, 4 and 5 see half of the channels before them:
    # 96 (11 11 3 + 1) + 256 (25 48 + 1) + 384 (9 256 + 1) + 384 (9 192 + 1) + 256 (9 192 + 1)         =  2,334,080
    # 4096 (9216 + 1) + 4096 (4096 + 1) + 1000 (4096 + 1)                                              = 58,631,144
    assert parameter_count("alexnet_two_tower") == 2_334_080 + 58_631_144 == 60_965_224


@pytest.mark.covers("ZO-02")
@pytest.mark.parametrize(("name", "side"), [("alexnet", 224), ("alexnet_two_tower", 227)])
def test_five_convolutions_and_three_dense_layers(name, side):
    model = create_model(name)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, side, side, 3)))["params"]
    assert sum(p["kernel"].ndim == 4 for p in params.values()) == 5
    assert sum(p["kernel"].ndim == 2 for p in params.values()) == 3
    maps = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x, method="features")[0], jnp.zeros((1, side, side, 3))
    )
    assert [maps[f"relu{i}"].shape[1] for i in range(1, 6)] == [55, 27, 13, 13, 13]
    chex.assert_shape(maps["pool5"], (1, 6, 6, 256))
    assert feature_info(model, (side, side, 3))["pool5"]["channels"] == 256


@pytest.mark.weekly
@pytest.mark.covers("ZO-02")
def test_two_towers_meet_in_the_third_convolution_only():
    model = AlexNet(towers=2, **SMALL)
    x = jax.random.normal(jax.random.key(0), (1, 67, 67, 3))
    variables = jax.jit(model.init)(jax.random.key(1), x)
    params = jax.tree.map(lambda p: 10 * p if p.ndim > 1 else p, variables["params"])

    def conv(x, layer, outputs, stride=1, padding="SAME"):
        kernel, bias = layer["kernel"][..., outputs], layer["bias"][outputs]
        numbers = ("NHWC", "HWIO", "NHWC")
        return nn.relu(
            jax.lax.conv_general_dilated(x, kernel, (stride,) * 2, padding, dimension_numbers=numbers) + bias
        )

    def respond(x):
        return nn.max_pool(local_response_norm(x, 5, 5 * 1e-4, 0.75, 2.0), (3, 3), (2, 2))

    def halves(x):
        return jnp.split(x, 2, -1)

    def towers(parts, layer):
        size = layer["kernel"].shape[-1] // 2
        return jnp.concatenate(
            [conv(part, layer, slice(t * size, t * size + size)) for t, part in enumerate(parts)], -1
        )

    whole = slice(None)
    x = respond(conv(x, params["features_0"], whole, 4, "VALID"))
    x = respond(towers(halves(x), params["features_3"]))
    x = conv(x, params["features_6"], whole)
    x = towers(halves(x), params["features_8"])
    want = towers(halves(x), params["features_10"])
    x = jax.random.normal(jax.random.key(0), (1, 67, 67, 3))
    got = jax.jit(lambda params: model.apply({"params": params}, x, method="features"))(params)
    assert want.std() > 0.01
    np.testing.assert_allclose(got["relu5"], want, atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("ZO-02")
def test_initial_values_of_2012():
    x = jnp.zeros((1, 67, 67, 3))
    params = jax.jit(AlexNet(towers=2, hidden=64).init)(jax.random.key(0), x)["params"]
    assert {name: float(p["bias"][0]) for name, p in params.items()} == {
        "features_0": 0,
        "features_3": 1,
        "features_6": 0,
        "features_8": 1,
        "features_10": 1,
        "classifier_1": 1,
        "classifier_4": 1,
        "head": 0,
    }
    assert jnp.std(params["features_6"]["kernel"]) == pytest.approx(0.01, rel=0.05)


@pytest.mark.slow
def test_initial_values_of_torch():
    params = jax.jit(AlexNet(hidden=64).init)(jax.random.key(0), jnp.zeros((1, 63, 63, 3)))["params"]
    limit = 1 / np.sqrt(5 * 5 * 64)  # uniform within 1 / sqrt(inputs), kernel and bias
    for leaf in params["features_3"].values():
        assert 0.9 * limit < jnp.abs(leaf).max() <= limit


@pytest.mark.slow
@pytest.mark.parametrize("towers", [1, 2])
def test_dropout_acts_in_training_alone(towers):
    assert create_model("alexnet").dropout == 0.5
    model = AlexNet(num_classes=2, towers=towers, dropout=1.0, head_init=nn.initializers.ones, **SMALL)
    x = jax.random.normal(jax.random.key(0), (2, 67, 67, 3))
    variables = jax.jit(model.init)(jax.random.key(0), x)
    run = jax.jit(lambda train: model.apply(variables, x, train, rngs={"dropout": jax.random.key(1)}), static_argnums=0)
    # one tower drops what the dense layers take, two towers what they give: only there nothing is left
    logits = run(True)
    assert (jnp.abs(logits).max() == 0) == (towers == 2)
    assert jnp.abs(logits - run(False)).max() > 0
    np.testing.assert_array_equal(compiled(model, variables, x), compiled(model, variables, x, False))
