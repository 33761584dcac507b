"""MnasNets: their names and counts are torchvision's (test_manifests); here the block and the costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.models import create_model
from dlcore.models.mnasnet import MnasBlock
from tests.models.cost import cost, stages_of
from tests.models.training import compiled, draw


@pytest.mark.slow(unless=["0_75-3170208-215", "1_0-4383312-314"])
@pytest.mark.parametrize(
    ("name", "count", "millions"),
    [("0_5", 2_218_512, 104), ("0_75", 3_170_208, 215), ("1_0", 4_383_312, 314), ("1_3", 6_282_256, 526)],
)
def test_parameters_and_multiplications(name, count, millions):
    parameters, operations = cost(create_model(f"mnasnet{name}"), 224)
    assert parameters == count
    assert abs(operations / 1e6 - millions) < 1


@pytest.mark.parametrize("features", [4, 5])
def test_a_block_by_hand(features):
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 4))
    block = MnasBlock(features, kernel_size=5, expansion=3)
    variables = draw(block, x, False)
    params, scale = variables["params"], jnp.sqrt(1 + 1e-5)
    y = nn.relu(x @ params["layers_0"]["kernel"][0, 0] / scale)
    y = jax.lax.conv_general_dilated(
        y,
        params["layers_3"]["kernel"],
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=12,
    )
    y = nn.relu(y / scale) @ params["layers_6"]["kernel"][0, 0] / scale
    want = x + y if features == 4 else y
    np.testing.assert_allclose(compiled(block, variables, x, False), want, atol=1e-5)


@pytest.mark.slow
def test_strides_and_widths():
    info = stages_of(create_model("mnasnet1_0"))
    assert [tuple(s.values()) for s in info.values()] == [
        (2, 16),
        (4, 24),
        (8, 40),
        (16, 80),
        (16, 96),
        (32, 192),
        (32, 320),
        (32, 1280),
    ]
    half = stages_of(create_model("mnasnet0_5"))
    assert [s["channels"] for s in half.values()] == [8, 16, 24, 40, 48, 96, 160, 1280]
