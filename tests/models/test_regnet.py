"""RegNets against torchvision, the widths, and the counts."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.models import create_model, list_models
from dlcore.models.regnet import RegNetBlock, quantized_widths
from dlcore.models.torch_weights import published_names
from tests.models.cost import cost, stages_of
from tests.models.tracing import layers_traced_once
from tests.models.training import compiled, draw


@pytest.mark.slow(only=["x_3_2gf-*"])
@pytest.mark.parametrize(
    ("name", "count", "billions"),
    [("x_400mf", 5_495_976, 0.41), ("y_400mf", 4_344_144, 0.40), ("x_3_2gf", 15_296_552, 3.18)],
)
def test_parameters_and_multiplications(name, count, billions):
    """A name states the multiplications."""
    parameters, operations = cost(create_model(f"regnet_{name}"), 224)
    assert parameters == count
    assert operations / 1e9 == pytest.approx(billions, abs=0.01)


@pytest.mark.parametrize(
    ("name", "depths", "widths"),  # tables of appendix D
    [
        ("x_400mf", (1, 2, 7, 12), (32, 64, 160, 400)),
        ("x_32gf", (2, 7, 13, 1), (336, 672, 1344, 2520)),
        ("y_400mf", (1, 3, 6, 6), (48, 104, 208, 440)),
        ("y_1_6gf", (2, 6, 17, 2), (48, 120, 336, 888)),
        ("y_8gf", (2, 4, 10, 1), (224, 448, 896, 2016)),
    ],
)
def test_widths_and_depths_are_the_papers(name, depths, widths):
    model = create_model(f"regnet_{name}")
    assert quantized_widths(model.depth, model.width, model.slope, model.step, model.group_width) == (depths, widths)


def test_widths_by_hand():
    # wanted 8, 16, 24, 32; log2 of 1, 2, 3, 4 rounds to 0, 1, 2, 2; so 8, 16, 32, 32; groups of 12: 8, 12, 36
    assert quantized_widths(4, 8, 8.0, 2.0, 4) == ((1, 1, 2), (8, 16, 32))
    assert quantized_widths(4, 8, 8.0, 2.0, 12) == ((1, 1, 2), (8, 24, 36))
    with pytest.raises(ValueError, match=r"width=12, slope=1, step=2: .*a multiple of 8"):
        quantized_widths(4, 12, 1, 2, 4)
    assert quantized_widths(3, 8, 0.0, 2.0, 4) == ((3,), (8,))  # all as wide as the first


@pytest.mark.parametrize("name", list_models("regnet_*"))
def test_x_has_no_squeeze_and_excitation_and_groups_divide_widths(name):
    model = create_model(name)
    assert (model.se_ratio == 0) == name.startswith("regnet_x")
    depths, widths = quantized_widths(model.depth, model.width, model.slope, model.step, model.group_width)
    assert len(widths) == 4
    assert sum(depths) == model.depth
    assert all(width % min(model.group_width, width) == 0 for width in widths)


@pytest.mark.slow
def test_a_block_by_hand():
    x = jax.random.normal(jax.random.key(0), (2, 5, 5, 8))
    block = RegNetBlock(8, group_width=4, se_ratio=0.25)
    variables = draw(block, x, False)
    params, scale = variables["params"], jnp.sqrt(1 + 1e-5)
    assert set(params) == {"a", "b", "se", "c"}
    y = nn.relu(x @ params["a"]["0"]["kernel"][0, 0] / scale)
    y = jax.lax.conv_general_dilated(
        y, params["b"]["0"]["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=2
    )
    y, gate = nn.relu(y / scale), params["se"]
    chex.assert_shape(gate["fc1"]["kernel"], (1, 1, 8, 2))  # a quarter of the block's 8 inputs
    hidden = nn.relu(y.mean((1, 2)) @ gate["fc1"]["kernel"][0, 0])
    y = y * nn.sigmoid(hidden @ gate["fc2"]["kernel"][0, 0])[:, None, None]
    want = nn.relu(x + y @ params["c"]["0"]["kernel"][0, 0] / scale)
    np.testing.assert_allclose(compiled(block, variables, x, False), want, atol=1e-5)


@pytest.mark.slow
def test_strides():
    info = stages_of(create_model("regnet_y_400mf"))
    assert [tuple(s.values()) for s in info.values()] == [(2, 32), (4, 48), (8, 104), (16, 208), (32, 440)]
    assert list(info) == ["stem", "block1", "block2", "block3", "block4"]


def test_names_of_transformers_count_layers_from_zero():
    """Gates are the third layer, and so is the last convolution where there are none."""
    fields = {"depth": 3, "width": 8, "slope": 8.0, "step": 2.0, "group_width": 4, "stem_width": 8}
    with layers_traced_once():
        names = published_names("regnet_y_400mf", 1, **fields)
    layers = {"a": "layer.0", "b": "layer.1", "c": "layer.2", "proj": "shortcut"}
    for stage, block in ((0, 0), (1, 0), (2, 0)):
        front, theirs = f"params/block{stage + 1}_{block}", f"encoder.stages.{stage}.layers.{block}"
        for ours, layer in layers.items():
            assert names[f"{front}/{ours}/0/kernel"] == f"{theirs}.{layer}.convolution.weight"
            assert names[f"{front}/{ours}/1/bias"] == f"{theirs}.{layer}.normalization.bias"
        assert names[f"{front}/se/fc1/kernel"] == f"{theirs}.layer.2.attention.0.weight"
        assert names[f"{front}/se/fc2/bias"] == f"{theirs}.layer.2.attention.2.bias"
    assert names["params/head/bias"] == "classifier.1.bias"
