"""ViTDet's backbone against transformers, and its windows by what a place sees."""

import functools
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from dlcore.models import create_model, feature_info, load_torch
from dlcore.models.vitdet import WindowBlock, from_torch
from dlcore.pretrained import from_pretrained
from tests.models.parity import check_output, nchw, nhwc, parameter_count, read_golden, weight_rule

TINY = {"image_size": 32, "pretrain_size": 32, "patch_size": 4, "depth": 4, "width": 32, "num_heads": 4}
TINY |= {"mlp_features": 64, "window_size": 4, "global_blocks": (1, 3), "num_classes": 0}
SMALLEST = TINY | {"depth": 2, "width": 8, "num_heads": 2, "mlp_features": 8, "global_blocks": (1,)}


@pytest.mark.slow
@pytest.mark.covers("AT-44")
def test_vitdet_equals_transformers():
    golden, meta, weights = read_golden("hf_vitdet")
    model, variables = create_model("vitdet_b", **TINY), load_torch("vitdet_b", weights, **TINY)
    x = nhwc(weight_rule().det_input(meta["inputs"]["pixel_values"]))
    maps = jax.jit(lambda v, x: model.apply(v, x, method="features"))(variables, x)
    assert list(maps) == [f"block{i}" for i in range(1, 5)]
    for i in range(1, 5):
        check_output(golden, meta, f"hidden_states.{i}", nchw(maps[f"block{i}"]), least=1e-5)
    check_output(golden, meta, "last_hidden_state", nchw(maps["block4"]), least=1e-5)
    kernel, table = weights["embeddings.projection.weight"], weights["embeddings.position_embeddings"]
    patches = np.asarray(x).reshape(2, 8, 4, 8, 4, 3)
    first = np.einsum("bhiwjc,ocij->bohw", patches, kernel) + weights["embeddings.projection.bias"][:, None, None]
    check_output(golden, meta, "hidden_states.0", first + table[0, 1:].T.reshape(32, 8, 8), least=1e-5)
    mean = jax.jit(model.apply)(variables, x)
    np.testing.assert_allclose(mean, np.asarray(maps["block4"]).mean((1, 2)), atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("AT-44")
def test_a_folder_of_transformers_loads(tmp_path):
    golden, meta, weights = read_golden("hf_vitdet")
    save_file(weights, tmp_path / "model.safetensors")
    config = {"architectures": ["VitDetModel"], "model_type": "vitdet", **meta["kwargs"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    net = from_pretrained(tmp_path)
    x = weight_rule().det_input(meta["inputs"]["pixel_values"])
    check_output(golden, meta, "last_hidden_state", nchw(net(pixel_values=x)["last_hidden_state"]), least=1e-5)
    (tmp_path / "config.json").write_text(json.dumps(config | {"use_absolute_position_embeddings": False}))
    with pytest.raises(ValueError, match="use_absolute_position_embeddings=False: not in dlcore; allowed: True"):
        from_pretrained(tmp_path)


@pytest.mark.slow(only=["vitdet_l*"])
@pytest.mark.covers("AT-44")
@pytest.mark.parametrize(
    ("name", "depth", "d", "count"), [("vitdet_b", 12, 768, 85_888_256), ("vitdet_l", 24, 1024, 303_431_680)]
)
def test_parameter_counts(name, depth, d, count):
    """Patches, 14^2 positions, blocks, and of relative positions 2 (2 side - 1) of 64 channels; 4 blocks are global."""
    block = 4 * d + 4 * d * (d + 1) + 4 * d * (d + 1) + d * (4 * d + 1)
    total = 3 * 16**2 * d + d + 14**2 * d + depth * block + 64 * 2 * ((depth - 4) * 27 + 4 * 127)
    assert parameter_count(name, num_classes=0) == total == count


@pytest.mark.slow
@pytest.mark.covers("AT-44")
@pytest.mark.parametrize("window", [2, 0])
def test_attention_stays_in_windows(window):
    """Of a 2 x 4 map in windows of 2: what the first place sees, read off the gradient."""
    block = WindowBlock(2, 4, grid=(2, 2), window_size=window)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 2, 4, 4)), jnp.float32)
    variables = jax.jit(block.init)(jax.random.key(0), x)
    slope = jax.jit(jax.grad(lambda x: jnp.square(block.apply(variables, x)[0, 0, 0]).sum()))(x)
    reached = jnp.abs(slope[0]).sum(-1) > 0
    np.testing.assert_array_equal(reached, np.arange(4) < np.full((2, 1), window or 4))


@pytest.mark.slow
@pytest.mark.covers("AT-44")
def test_padding_takes_part_in_attention():
    """One place in a window of 2 x 2, scores 0; values are LN(x) = (1, -1) + (1, 1) and three zeros: x + (2, 0) / 4."""
    eye, zeros = np.eye(2, dtype=np.float32), functools.partial(np.zeros, dtype=np.float32)
    params = {
        "norm1": {"scale": np.ones(2, np.float32), "bias": np.ones(2, np.float32)},
        "attn": {
            "qkv": {"kernel": np.concatenate([zeros((2, 4)), eye], 1), "bias": zeros(6)},
            "proj": {"kernel": eye, "bias": zeros(2)},
        },
        "norm2": {"scale": np.ones(2, np.float32), "bias": zeros(2)},
        "mlp": {"fc1": {"kernel": zeros((2, 1)), "bias": zeros(1)}, "fc2": {"kernel": zeros((1, 2)), "bias": zeros(2)}},
    }
    x = np.float32([3, -3]).reshape(1, 1, 1, 2)
    y = jax.jit(WindowBlock(1, 1, window_size=2).apply)({"params": params}, x)
    np.testing.assert_allclose(y[0, 0, 0], [3.5, -3.0], atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("AT-44")
def test_a_residual_block_starts_as_nothing_and_has_half_the_channels():
    """Of 8 channels: 8 · 4 + 9 · 4 · 4 + 4 · 8 weights and 2 (4 + 4 + 8) of norms."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 3, 3, 8)), jnp.float32)
    plain, block = WindowBlock(2, 8), WindowBlock(2, 8, residual=True)
    variables = jax.jit(block.init)(jax.random.key(0), x)
    branch = variables["params"]["residual"]
    assert sum(leaf.size for leaf in jax.tree.leaves(branch)) == 32 + 144 + 32 + 32
    rest = {"params": {name: leaves for name, leaves in variables["params"].items() if name != "residual"}}
    run = jax.jit(block.apply)
    expected = jax.jit(plain.apply)(rest, x)
    np.testing.assert_allclose(run(variables, x), expected, atol=1e-6)
    branch["norm3"]["scale"] += 1
    assert not np.allclose(run(variables, x), expected, atol=0.1)


@pytest.mark.covers("AT-44")
def test_maps_keep_their_stride_and_other_sizes_fit():
    model = create_model("vitdet_b", **SMALLEST)
    assert feature_info(model, (32, 32, 3)) == {f"block{i}": {"stride": 4, "channels": 8} for i in (1, 2)}
    x = jax.ShapeDtypeStruct((1, 24, 40, 3), jnp.float32)
    maps, _ = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x, method="features"), x)
    chex.assert_shape(maps["block2"], (1, 6, 10, 8))


def test_the_position_of_the_class_token_is_left_out():
    table = np.arange(10.0).reshape(1, 5, 2)
    np.testing.assert_array_equal(from_torch("params/pos_embed/embedding", table, (1, 4, 2)), table[:, 1:])
    assert from_torch("params/pos_embed/embedding", table, (1, 5, 2)) is None
    assert from_torch("params/head/embedding", table, (1, 4, 2)) is None
