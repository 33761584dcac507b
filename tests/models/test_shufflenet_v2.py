"""ShuffleNetV2 against torchvision, the shuffle, and the counts."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given

from dlcore.models import create_model
from dlcore.models.shufflenet_v2 import ShuffleUnit, channel_shuffle
from tests.models.cost import multiply_adds, stages_of
from tests.models.parity import parameter_count
from tests.models.training import compiled, draw


@pytest.mark.slow(unless=["x0_5-*", "x2_0-*"])
@pytest.mark.covers("ZO-21")
@pytest.mark.parametrize(
    ("name", "count", "millions"),  # 41, 146, 299 and 591 in the paper's table 8
    [("x0_5", 1_366_792, 41), ("x1_0", 2_278_604, 146), ("x1_5", 3_503_624, 299), ("x2_0", 7_393_996, 591)],
)
def test_parameters_and_multiplications(name, count, millions):
    assert parameter_count(f"shufflenet_v2_{name}") == count
    assert multiply_adds(create_model(f"shufflenet_v2_{name}"), 224) / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.covers("ZO-21")
def test_the_shuffle_by_hand():
    # blocks 0 1 2 and 3 4 5, one of each in turn
    np.testing.assert_array_equal(channel_shuffle(jnp.arange(6), 2), [0, 3, 1, 4, 2, 5])
    np.testing.assert_array_equal(channel_shuffle(jnp.arange(6), 3), [0, 2, 4, 1, 3, 5])
    with pytest.raises(ValueError, match=r"groups=4: .*divisors of the 6"):
        channel_shuffle(jnp.zeros((1, 2, 2, 6)), 4)


@pytest.mark.covers("ZO-21")
@given(groups=st.integers(1, 12), size=st.integers(1, 12))
def test_the_shuffle_is_a_bijection(groups, size):
    order = np.asarray(channel_shuffle(np.arange(groups * size), groups))
    np.testing.assert_array_equal(np.sort(order), np.arange(groups * size))
    np.testing.assert_array_equal(channel_shuffle(order, size), np.arange(groups * size))
    # channel g n + i goes to i groups + g
    g, i = np.divmod(np.arange(groups * size), size)
    np.testing.assert_array_equal(order[i * groups + g], np.arange(groups * size))


@pytest.mark.covers("ZO-21")
def test_a_unit_passes_one_half_on_and_mixes_it_with_the_other():
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 6))
    unit = ShuffleUnit(6)
    variables = draw(unit, x, False)
    got = compiled(unit, variables, x, False)
    np.testing.assert_array_equal(got[..., ::2], x[..., :3])
    params, scale = variables["params"], jnp.sqrt(1 + 1e-5)
    y = nn.relu(x[..., 3:] @ params["branch2_0"]["kernel"][0, 0] / scale)
    y = jax.lax.conv_general_dilated(
        y,
        params["branch2_3"]["kernel"],
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=3,
    )
    y = nn.relu(y / scale @ params["branch2_5"]["kernel"][0, 0] / scale)
    np.testing.assert_allclose(got[..., 1::2], y, atol=1e-5)


def test_strides_and_widths():
    info = stages_of(create_model("shufflenet_v2_x1_0"))
    assert [tuple(s.values()) for s in info.values()] == [(2, 24), (8, 116), (16, 232), (32, 464), (32, 1024)]
