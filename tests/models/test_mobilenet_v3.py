"""MobileNetV3 against torchvision, its block, and its counts."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model
from dlcore.models.mobilenet_v3 import LARGE, BlockSetting, MobileNetV3Block
from tests.models.cost import cost, stages_of
from tests.models.training import compiled, draw


@pytest.mark.slow(unless=["small-2542856-57"])
@pytest.mark.parametrize(("name", "count", "millions"), [("large", 5_483_032, 217), ("small", 2_542_856, 57)])
def test_parameters_and_multiplications(name, count, millions):
    """219 and 56 million in the paper's tables 3 and 4."""
    parameters, operations = cost(create_model(f"mobilenet_v3_{name}"), 224)
    assert (parameters, round(operations / 1e6)) == (count, millions)


@pytest.mark.parametrize("hard", [False, True])
def test_a_block_by_hand(hard):
    x = 2 * jax.random.normal(jax.random.key(0), (2, 5, 5, 8))
    block = MobileNetV3Block(BlockSetting(1, 16, 8, True, hard, 1))
    variables = draw(block, x, False)
    params = variables["params"]

    def norm(x):
        return x / np.sqrt(1 + 1e-3)

    def act(x):
        return x * np.clip(x + 3, 0, 6) / 6 if hard else np.maximum(x, 0)

    y = act(norm(x @ params["block_0"]["0"]["kernel"][0, 0]))
    y = act(norm(y * params["block_1"]["0"]["kernel"][0, 0, 0]))
    gate = params["block_2"]
    chex.assert_shape(gate["fc1"]["kernel"], (1, 1, 16, 8))  # 16 / 4 = 4, no less than 8
    hidden = np.maximum(y.mean((1, 2)) @ gate["fc1"]["kernel"][0, 0] + gate["fc1"]["bias"], 0)
    opened = np.clip(hidden @ gate["fc2"]["kernel"][0, 0] + gate["fc2"]["bias"] + 3, 0, 6) / 6
    y = norm((y * opened[:, None, None]) @ params["block_3"]["0"]["kernel"][0, 0])
    np.testing.assert_allclose(compiled(block, variables, x, False), x + y, atol=1e-5)


def test_a_block_that_does_not_widen_has_no_first_convolution():
    x = jnp.zeros((1, 4, 4, 16))
    block = MobileNetV3Block(BlockSetting(3, 16, 24, False, False, 2))
    params = jax.eval_shape(lambda: block.init(jax.random.key(0), x, False))["params"]
    assert {name: module["0"]["kernel"].shape for name, module in params.items()} == {
        "block_0": (3, 3, 1, 16),
        "block_1": (1, 1, 16, 24),
    }


@pytest.mark.slow
def test_strides_and_widths():
    large, small = (stages_of(create_model(f"mobilenet_v3_{name}")) for name in ("large", "small"))
    assert [tuple(s.values()) for s in large.values()] == [
        (2, 16),
        (2, 16),
        (4, 24),
        (8, 40),
        (16, 112),
        (32, 160),
        (32, 960),
    ]
    assert [tuple(s.values()) for s in small.values()] == [(2, 16), (4, 16), (8, 24), (16, 48), (32, 96), (32, 576)]
    assert list(small) == ["stem", "stage1", "stage2", "stage3", "stage4", "last"]
    assert [setting.use_hs for setting in LARGE] == [False] * 6 + [True] * 9  # table 1
    half = stages_of(create_model("mobilenet_v3_small", width_mult=0.5))
    assert [s["channels"] for s in half.values()] == [8, 8, 16, 24, 48, 288]
