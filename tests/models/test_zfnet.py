"""ZFNet: its count, the sizes that the paper draws, and its first layers by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.models import create_model
from dlcore.models.zfnet import ZFNet
from dlcore.nn import local_response_norm
from tests.models.parity import parameter_count

SMALL = {"widths": (4, 8, 8, 8, 4), "hidden": 16}


@pytest.mark.covers("ZO-03")
def test_parameter_count():
    # 96 (49 3 + 1) + 256 (25 96 + 1) + 384 (9 256 + 1) + 384 (9 384 + 1) + 256 (9 384 + 1)            =  3,726,464
    # 4096 (9216 + 1) + 4096 (4096 + 1) + 1000 (4096 + 1)                                              = 58,631,144
    assert parameter_count("zfnet") == 3_726_464 + 58_631_144 == 62_357_608


@pytest.mark.covers("ZO-03")
def test_kernels_and_sizes_of_the_paper():
    model, x = create_model("zfnet"), jnp.zeros((1, 224, 224, 3))
    params = jax.eval_shape(model.init, jax.random.key(0), x)["params"]
    assert [params[f"conv{i}"]["kernel"].shape for i in range(1, 6)] == [
        (7, 7, 3, 96),
        (5, 5, 96, 256),
        (3, 3, 256, 384),
        (3, 3, 384, 384),
        (3, 3, 384, 256),
    ]
    maps = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x, method="features")[0], x)
    # the first convolution has stride 2: (224 + 2 - 7) // 2 + 1 = 110
    assert [maps[f"relu{i}"].shape[1] for i in range(1, 6)] == [110, 26, 13, 13, 13]
    chex.assert_shape(maps["pool5"], (1, 6, 6, 256))


@pytest.mark.slow
@pytest.mark.covers("ZO-03")
def test_poolings_come_before_the_normalization():
    model, x = ZFNet(**SMALL), jax.random.normal(jax.random.key(0), (2, 53, 53, 3))
    params = jax.tree.map(lambda p: 10 * p, jax.jit(model.init)(jax.random.key(1), x)["params"])
    maps = jax.jit(lambda p: model.apply({"params": p}, x, method="features"))(params)
    pooled = nn.max_pool(maps["relu1"], (3, 3), (2, 2), [(1, 1), (1, 1)])
    convolved = jax.lax.conv_general_dilated(
        local_response_norm(pooled, 5, 5 * 1e-4, 0.75, 2.0),
        params["conv2"]["kernel"],
        (2, 2),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    np.testing.assert_allclose(maps["relu2"], nn.relu(convolved), atol=1e-5)
    np.testing.assert_allclose(maps["pool5"], nn.max_pool(maps["relu5"], (3, 3), (2, 2)))


@pytest.mark.slow
def test_dropout_acts_in_training_alone():
    model, x = ZFNet(dropout=1.0, **SMALL), jax.random.normal(jax.random.key(0), (2, 53, 53, 3))
    params = jax.tree.map(lambda p: p + 0.1, jax.jit(model.init)(jax.random.key(0), x)["params"])
    run = jax.jit(lambda train: model.apply({"params": params}, x, train, rngs={"dropout": x_key}), static_argnums=0)
    x_key = jax.random.key(1)
    np.testing.assert_allclose(run(True), 0.1)  # the bias of the head alone
    assert jnp.abs(run(False)).min() > 0.2
