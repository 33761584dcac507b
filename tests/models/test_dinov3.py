"""DINOv3's ViT and ConvNeXt against transformers, the angles of patch centers, and facebook's and timm's names."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, load_torch
from dlcore.models.dinov3 import center_angles, from_torch
from dlcore.models.registry import example_inputs
from tests.models.parity import check_hidden_states, check_output, nchw, nhwc, parameter_count, read_golden, weight_rule

TINY = {"image_size": 32, "patch_size": 8, "width": 32, "depth": 2, "num_heads": 4, "mlp_features": 64}


@pytest.mark.slow
@pytest.mark.covers("AT-40")
def test_the_vit_equals_transformers_block_by_block():
    token, golden, meta, inside = check_hidden_states("hf_dinov3_vit", "dinov3_vits16", **TINY)
    check_output(golden, meta, "pooler_output", token)
    check_output(golden, meta, "last_hidden_state", inside["norm"])


@pytest.mark.slow
@pytest.mark.covers("AT-40")
def test_the_convnext_equals_transformers_stage_by_stage():
    golden, meta, weights = read_golden("hf_dinov3_convnext")
    fields = {"stages": (1, 1, 2, 1), "widths": (8, 16, 24, 32)}
    model, variables = (
        create_model("dinov3_convnext_tiny", **fields),
        load_torch("dinov3_convnext_tiny", weights, **fields),
    )
    images = nhwc(weight_rule().det_input(meta["inputs"]["pixel_values"]))

    @jax.jit
    def run(variables, x):
        return [model.apply(variables, x, method=method) for method in ("__call__", "tokens", "features")]

    pooled, tokens, maps = run(variables, images)
    check_output(golden, meta, "pooler_output", pooled)
    check_output(golden, meta, "last_hidden_state", tokens)
    for i, value in enumerate((images, *maps.values())):
        check_output(golden, meta, f"hidden_states.{i}", nchw(value))


@pytest.mark.slow(only=["dinov3_vit7b16*", "dinov3_vith16plus*", "dinov3_convnext_tiny*"])
@pytest.mark.covers("AT-40")
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("dinov3_vits16", 21_596_160),
        ("dinov3_vith16plus", 840_591_360),
        ("dinov3_vit7b16", 6_716_030_976),
        ("dinov3_convnext_tiny", 27_820_128),
    ],
)
def test_parameter_counts(name, count):
    """Of the small one: patches, tokens, 12 blocks and a norm; no mask token, and no bias of keys."""
    block = 3 * 384**2 + 2 * 384 + 384**2 + 384 + 2 * 384 * 1536 + 1536 + 384 + 2 * 384 + 4 * 384
    assert 3 * 256 * 384 + 384 + 5 * 384 + 12 * block + 2 * 384 == 21_596_160
    assert parameter_count(name) == count


@pytest.mark.covers("AT-40")
def test_angles_of_two_by_one_patches_by_hand():
    """Centers at rows -1/2 and 1/2, and column 0; periods 1 and 10 of the eight channels of a head."""
    angles = center_angles((2, 1), 8, 100.0)
    np.testing.assert_allclose(
        angles[:, 0], [[-np.pi, -np.pi / 10, 0, 0], [np.pi, np.pi / 10, 0, 0]], rtol=1e-6, atol=1e-7
    )


@pytest.mark.slow
@pytest.mark.covers("AT-40")
@pytest.mark.parametrize("project", ["facebook", "timm"])
def test_names_of_other_projects(project):
    """Facebook's layer has one bias of queries, keys and values; gated MLPs are w1, w2, w3 or fc1_g, fc1_x, fc2."""
    fields = TINY | {"depth": 1, "swiglu": True, "num_registers": 2}
    model = create_model("dinov3_vits16plus", **fields)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *example_inputs("dinov3_vits16plus", fields))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)["params"]
    block, attention = params["blocks_0"], params["blocks_0"]["attn"]

    def linear(name, layer):
        kernel = layer.get("kernel", layer.get("scale"))
        kernel = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        return {f"{name}.weight": kernel} | ({f"{name}.bias": layer["bias"]} if "bias" in layer else {})

    is_facebook = project == "facebook"
    published = {"cls_token": params["cls_token"], "mask_token": np.zeros((1, 32), np.float32)}
    published["storage_tokens" if is_facebook else "reg_token"] = params["register_tokens"]
    published |= linear("patch_embed.proj", params["patch_embed"]) | linear("norm", params["norm"])
    for part in ("norm1", "norm2"):
        published |= linear(f"blocks.0.{part}", block[part])
    for part in ("qkv", "proj"):
        published |= linear(f"blocks.0.attn.{part}", attention[part])
    names = ("w1", "w2", "w3") if is_facebook else ("fc1_g", "fc1_x", "fc2")
    for ours, theirs in zip(("gate", "fc1", "fc2"), names, strict=True):
        published |= linear(f"blocks.0.mlp.{theirs}", block["mlp"][ours])
    for i in (1, 2):
        published[f"blocks.0.ls{i}.gamma" if is_facebook else f"blocks.0.gamma_{i}"] = block[f"layer_scale{i}"]
    if is_facebook:
        published["blocks.0.attn.qkv.bias"] = np.concatenate(
            [attention["q_bias"], np.full(32, np.nan, np.float32), attention["v_bias"]]
        )
        published |= {"rope_embed.periods": np.zeros(2), "blocks.0.attn.qkv.bias_mask": np.zeros(96)}
    else:
        published |= {f"blocks.0.attn.{name}": attention[name] for name in ("q_bias", "v_bias")}
        del published["mask_token"]
    jax.tree.map(np.testing.assert_array_equal, load_torch("dinov3_vits16plus", published, **fields)["params"], params)


@pytest.mark.covers("AT-40")
def test_a_fused_bias_is_split():
    value = np.arange(6.0)
    np.testing.assert_array_equal(from_torch("params/blocks_0/attn/q_bias", value, (2,)), [0, 1])
    np.testing.assert_array_equal(from_torch("params/blocks_0/attn/v_bias", value, (2,)), [4, 5])
    assert from_torch("params/blocks_0/attn/q_bias", value[:2], (2,)) is None


@pytest.mark.slow
@pytest.mark.covers("AT-40")
def test_the_mean_is_over_patches_alone():
    model = create_model("dinov3_vits16", pool="mean", num_classes=2, **TINY | {"depth": 1})
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 16, 8, 3)), jnp.float32)
    variables = jax.jit(model.init)(jax.random.key(0), x)
    params = dict(variables["params"])
    params["head"] = {"kernel": jnp.eye(32)[:, :2], "bias": jnp.zeros(2)}
    tokens = model.apply({"params": params}, x, method="tokens")
    chex.assert_shape(tokens, (1, 1 + 4 + 2, 32))
    np.testing.assert_allclose(model.apply({"params": params}, x), tokens[:, 5:, :2].mean(1), atol=1e-6)
