"""Shapes, names, the count, and that each map is what its name says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.models import create_model
from dlcore.models.vgg import VGG
from dlcore.ops import max_pool


def images(n=2, side=16):
    return jax.random.normal(jax.random.key(0), (n, side, side, 3))


def test_parameter_count():
    # 3x3 kernels 9 (3 24 + 24^2 + 24 48 + 48^2 + 48 96 + 96^2 + 96 192 + 192^2) = 659,016 with no bias,
    # batch norm 2 x 2 x (24 + 48 + 96 + 192) = 1,440, head 192 x 10 + 10 = 1,930
    model = create_model("vgg9_cifar")
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    assert sum(x.size for x in jax.tree.leaves(shapes["params"])) == 659_016 + 1_440 + 1_930


def test_maps_follow_one_another():
    model = VGG(stages=(1, 2), width=4)
    variables = model.init(jax.random.key(0), images())
    maps = model.apply(variables, images(), method="features")
    assert {n: m.shape for n, m in maps.items()} == {
        "relu1_1": (2, 16, 16, 4),
        "stage1": (2, 16, 16, 4),
        "relu2_1": (2, 8, 8, 8),
        "relu2_2": (2, 8, 8, 8),
        "stage2": (2, 8, 8, 8),
    }
    np.testing.assert_array_equal(maps["stage2"], maps["relu2_2"])
    scale = 1 / np.sqrt(1 + 1e-5)  # batch norm with the statistics it starts from
    kernel = variables["params"]["conv2_1"]["kernel"]
    convolved = jax.lax.conv_general_dilated(
        max_pool(maps["stage1"], (2, 2), (2, 2)), kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(maps["relu2_1"], nn.relu(convolved * scale), rtol=1e-5, atol=1e-5)


def test_channels_double_up_to_eight_times():
    shapes = jax.eval_shape(VGG(stages=(1,) * 6, width=2).init, jax.random.key(0), images(1, 32))["params"]
    assert [shapes[f"conv{i}_1"]["kernel"].shape[-1] for i in range(1, 7)] == [2, 4, 8, 16, 16, 16]


def test_average_pooling_takes_the_same_weights():
    variables = VGG(stages=(1, 1), width=4).init(jax.random.key(0), images())
    highest, mean = (
        VGG(stages=(1, 1), width=4, pooling=pooling).apply(variables, images(), method="features")["relu2_1"]
        for pooling in ("max", "avg")
    )
    assert jnp.abs(highest - mean).max() > 0.1


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="pooling is 'sum': max, avg are allowed"):
        VGG(pooling="sum").init(jax.random.key(0), images())
    with pytest.raises(ValueError, match="at least 8x8"):
        VGG().init(jax.random.key(0), images(1, 7))
