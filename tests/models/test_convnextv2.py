"""ConvNeXt V2 against timm and transformers, and global response norm by formula."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, load_torch
from dlcore.models.convnext import ConvNeXtBlock
from dlcore.nn import GlobalResponseNorm
from tests.models.parity import check_output, nchw, nhwc, read_golden, weight_rule
from tests.models.training import draw

TINY = {"stages": (1, 1, 2, 1), "widths": (8, 16, 24, 32), "num_classes": 0}


def images(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.slow
@pytest.mark.covers("ZO-29")
def test_convnextv2_equals_transformers_stage_by_stage():
    golden, meta, weights = read_golden("hf_convnextv2")
    model, variables = create_model("convnextv2_atto", **TINY), load_torch("convnextv2_atto", weights, **TINY)
    x = nhwc(weight_rule().det_input(meta["inputs"]["pixel_values"]))

    @jax.jit
    def run(variables, x):
        embedding = lambda module, method: module.name == "features_0_1"  # noqa: E731
        pooled, state = model.apply(variables, x, capture_intermediates=embedding)
        maps = model.apply(variables, x, method="features")
        return pooled, [state["intermediates"]["features_0_1"]["__call__"][0], *maps.values()]

    pooled, maps = run(variables, x)
    check_output(golden, meta, "pooler_output", pooled)
    check_output(golden, meta, "last_hidden_state", nchw(maps[-1]))
    assert len(maps) == 5
    for i, value in enumerate(maps):
        check_output(golden, meta, f"hidden_states.{i}", nchw(value))


@pytest.mark.covers("ZO-29")
def test_facebooks_and_transformers_names_are_those_of_timm():
    """facebook's gamma and beta are [1, 1, 1, C]; timm's small models have 1x1 convolutions for dense layers."""
    fields = {"stages": (1,), "widths": (2,), "num_classes": 3}
    rng = np.random.default_rng(0)
    shapes = {
        "stem.0.weight": (2, 3, 4, 4), "stem.0.bias": (2,), "stem.1.weight": (2,), "stem.1.bias": (2,),
        "stages.0.blocks.0.conv_dw.weight": (2, 1, 7, 7), "stages.0.blocks.0.conv_dw.bias": (2,),
        "stages.0.blocks.0.norm.weight": (2,), "stages.0.blocks.0.norm.bias": (2,),
        "stages.0.blocks.0.mlp.fc1.weight": (8, 2, 1, 1), "stages.0.blocks.0.mlp.fc1.bias": (8,),
        "stages.0.blocks.0.mlp.grn.weight": (8,), "stages.0.blocks.0.mlp.grn.bias": (8,),
        "stages.0.blocks.0.mlp.fc2.weight": (2, 8, 1, 1), "stages.0.blocks.0.mlp.fc2.bias": (2,),
        "head.norm.weight": (2,), "head.norm.bias": (2,), "head.fc.weight": (3, 2), "head.fc.bias": (3,),
    }  # fmt: skip
    timm = {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}
    variables = load_torch("convnextv2_atto", timm, **fields)
    block = variables["params"]["features_1_0"]
    np.testing.assert_array_equal(block["block_grn"]["scale"], timm["stages.0.blocks.0.mlp.grn.weight"])
    np.testing.assert_array_equal(block["block_3"]["kernel"], timm["stages.0.blocks.0.mlp.fc1.weight"][..., 0, 0].T)
    facebook = {}
    for key, value in timm.items():
        key = key.replace("stem.", "downsample_layers.0.").replace(".blocks.", ".").replace("conv_dw", "dwconv")
        key = key.replace(".mlp.fc", ".pwconv").replace(".mlp.grn.weight", ".grn.gamma")
        key = key.replace(".mlp.grn.bias", ".grn.beta").replace("head.norm", "norm").replace("head.fc", "head")
        value = value.reshape(1, 1, 1, -1) if ".grn." in key else value
        facebook[key] = value.reshape(value.shape[:2]) if "pwconv" in key and value.ndim == 4 else value
    chex.assert_trees_all_equal(load_torch("convnextv2_atto", facebook, **fields), variables)


@pytest.mark.covers("ZO-29")
def test_the_norm_by_hand():
    """Channels of norms 5 = |(3, 4)| and 1 = |(0, 1)|, mean 3: gates 5/3 and 1/3."""
    x, layer = jnp.array([[[[3.0, 0.0], [4.0, 1.0]]]]), GlobalResponseNorm()
    params = {"scale": jnp.array([3.0, 6.0]), "bias": jnp.array([0.5, -1.0])}
    # (3, 4) 3 5/3 + .5 + (3, 4) = (18.5, 24.5);   (0, 1) 6 1/3 - 1 + (0, 1) = (-1, 2)
    np.testing.assert_allclose(layer.apply({"params": params}, x), [[[[18.5, -1.0], [24.5, 2.0]]]], rtol=1e-5)
    out, variables = layer.init_with_output(jax.random.key(0), x)
    chex.assert_trees_all_equal(out, x)
    assert jax.tree.map(float, jax.tree.map(jnp.max, variables["params"])) == {"scale": 0, "bias": 0}


@pytest.mark.covers("ZO-29")
def test_a_map_of_zeros_has_a_finite_gradient():
    params = {"scale": jnp.ones(2), "bias": jnp.zeros(2)}
    slope = jax.jit(jax.grad(lambda x: GlobalResponseNorm().apply({"params": params}, x).sum()))(
        jnp.zeros((1, 2, 2, 2))
    )
    np.testing.assert_array_equal(slope, np.ones((1, 2, 2, 2)))


@pytest.mark.slow
@pytest.mark.covers("ZO-29")
def test_a_block_has_the_norm_between_its_dense_layers_and_no_layer_scale():
    x, block = images(2, 4, 4, 3), ConvNeXtBlock(grn=True)
    variables = draw(block, x, False)
    assert set(variables["params"]) == {"block_0", "block_2", "block_3", "block_5", "block_grn"}
    p = variables["params"]

    @functools.partial(jax.jit, static_argnums=0)
    def branch(block, variables):
        inner = lambda module, method: module.name in ("block_3", "block_5")  # noqa: E731
        out, state = block.apply(variables, x, capture_intermediates=inner)
        return out, state["intermediates"]["block_3"]["__call__"][0]

    out, hidden = branch(block, variables)
    h = np.asarray(jax.nn.gelu(hidden, approximate=False), np.float64)
    norm = np.sqrt(np.square(h).sum((1, 2), keepdims=True))
    h = h + h * norm / (norm.mean(-1, keepdims=True) + 1e-6) * p["block_grn"]["scale"] + p["block_grn"]["bias"]
    np.testing.assert_allclose(out, x + h @ p["block_5"]["kernel"] + p["block_5"]["bias"], atol=1e-4)
