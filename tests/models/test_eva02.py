"""EVA-02 against timm, the norm inside its MLP by NumPy, and the names of its larger sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, load_torch
from dlcore.models.eva02 import from_torch
from dlcore.models.registry import example_inputs
from dlcore.nn import FeedForward
from tests.models.parity import parameter_count

TINY = {"image_size": 28, "width": 32, "depth": 1, "num_heads": 4, "mlp_features": 24}


@pytest.mark.slow(only=["eva02_large_patch14_448*"])
@pytest.mark.covers("AT-38")
@pytest.mark.parametrize(
    ("name", "count"), [("eva02_tiny_patch14_224", 5_502_144), ("eva02_large_patch14_448", 305_080_232)]
)
def test_parameter_counts(name, count):
    """timm's. Tiny: patches, class token, 257 positions, 12 blocks and a norm."""
    block = 4 * 192**2 + 3 * 192 + 3 * 192 * 512 + 2 * 512 + 192 + 4 * 192
    assert 3 * 14**2 * 192 + 192 + 192 + 257 * 192 + 12 * block + 2 * 192 == 5_502_144
    assert parameter_count(name) == count


@pytest.mark.slow
@pytest.mark.covers("AT-38")
def test_the_mlp_of_base_by_numpy():
    """W_2 LN(silu(W_g x) W_1 x)."""
    rng = np.random.default_rng(0)
    x, layer = rng.normal(size=(3, 4)), FeedForward(6, jax.nn.silu, gated=True, norm_epsilon=1e-6)
    params = jax.eval_shape(layer.init, jax.random.key(0), jnp.zeros((3, 4)))["params"]
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), params)
    gate, up = (x @ params[name]["kernel"] + params[name]["bias"] for name in ("gate", "fc1"))
    h = gate / (1 + np.exp(-gate)) * up
    h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-6)
    h = h * params["norm"]["scale"] + params["norm"]["bias"]
    expected = h @ params["fc2"]["kernel"] + params["fc2"]["bias"]
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    got = jax.jit(layer.apply)({"params": params}, jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.covers("AT-38")
def test_the_first_layer_of_a_gated_mlp_is_cut():
    value = np.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(from_torch("params/blocks_0/mlp/gate/kernel", value, (3, 2)), value[:2].T)
    np.testing.assert_array_equal(from_torch("params/blocks_0/mlp/fc1/kernel", value, (3, 2)), value[2:].T)
    np.testing.assert_array_equal(from_torch("params/blocks_0/mlp/fc1/bias", value[:, 0], (2,)), [6, 9])
    assert from_torch("params/blocks_0/mlp/fc1/kernel", value[:2], (3, 2)) is None


@pytest.mark.slow
@pytest.mark.covers("AT-38")
@pytest.mark.parametrize("project", ["timm", "authors"])
def test_names_of_larger_sizes(project):
    name, fields = "eva02_base_patch14_448", TINY | {"num_classes": 3}
    shapes = jax.eval_shape(create_model(name, **fields).init, jax.random.key(0), *example_inputs(name, fields))
    rng, is_timm = np.random.default_rng(0), project == "timm"
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)["params"]
    block, attention = params["blocks_0"], params["blocks_0"]["attn"]

    def linear(name, layer):
        kernel = layer.get("kernel", layer.get("scale"))
        kernel = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        return {f"{name}.weight": kernel, f"{name}.bias": layer["bias"]}

    published = {"cls_token": params["cls_token"], "pos_embed": params["pos_embed"]["embedding"]}
    for part, layer in (("patch_embed.proj", "patch_embed"), ("fc_norm", "fc_norm"), ("head", "head")):
        published |= linear(part, params[layer])
    for part in ("norm1", "norm2"):
        published |= linear(f"blocks.0.{part}", block[part])
    published |= linear("blocks.0.attn.proj", attention["proj"])
    for part, kernel in zip("qkv", np.split(attention["qkv"]["kernel"].T, 3), strict=True):
        published[f"blocks.0.attn.{part}_proj.weight"] = kernel
    for part in "qv":
        published[f"blocks.0.attn.{part}_proj.bias" if is_timm else f"blocks.0.attn.{part}_bias"] = attention[
            f"{part}_bias"
        ]
    names = ("fc1_g", "fc1_x", "fc2", "norm") if is_timm else ("w1", "w2", "w3", "ffn_ln")
    for ours, theirs in zip(("gate", "fc1", "fc2", "norm"), names, strict=True):
        published |= linear(f"blocks.0.mlp.{theirs}", block["mlp"][ours])
    published |= {} if is_timm else {"rope.freqs_cos": np.zeros(2), "blocks.0.attn.rope.freqs_sin": np.zeros(2)}
    jax.tree.map(np.testing.assert_array_equal, load_torch(name, published, **fields)["params"], params)
