"""MAE and VideoMAE against transformers, the published size, and what the encoder may not see."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models.mae import MAE, VideoMAE, from_torch_names, visible_count
from dlcore.self_supervised.mae import patch_targets
from dlcore.self_supervised.video_mae import tubelet_targets
from tests.models.parity import check_output, nhwc, read_golden, weight_rule
from tests.models.tracing import count_once

FIELDS = {"depth": 2, "width": 32, "num_heads": 4, "mlp_features": 64, "decoder_depth": 1, "decoder_heads": 2}
TINY = MAE(1, patch_size=2, depth=1, width=8, num_heads=2, mlp_features=8, decoder_depth=1, decoder_width=8,
           decoder_heads=2, decoder_features=8)  # fmt: skip


class NoPositions(MAE):
    """The golden's library had not filled its tables: they are zero."""

    def positions(self, grid, width):
        return np.zeros((math.prod(grid), width), np.float32)


def golden_of(file, model, shape):
    golden, meta, weights = read_golden(file)
    weights |= {key.removeprefix("const."): golden[key] for key in golden.files if key.startswith("const.")}
    inputs = {key: weight_rule().det_input(about) for key, about in meta["inputs"].items()}
    return golden, meta, from_torch_names(model, weights, shape), inputs


@pytest.mark.slow
@pytest.mark.covers("SS-19")
def test_mae_equals_transformers():
    model = NoPositions(3, patch_size=8, decoder_width=16, decoder_features=24, epsilon=1e-12, **FIELDS)
    golden, meta, variables, inputs = golden_of("hf_vitmae", model, (32, 32, 3))
    images = nhwc(inputs["pixel_values"])
    out = jax.jit(model.apply)(variables, images, jnp.asarray(inputs["noise"]))
    check_output(golden, meta, "logits", out["prediction"])
    np.testing.assert_array_equal(out["mask"], golden["mask"])
    np.testing.assert_array_equal(out["restore"], golden["ids_restore"])
    losses = jnp.square(out["prediction"] - patch_targets(model.patches(images))).mean(-1)
    np.testing.assert_allclose((losses * out["mask"]).sum() / out["mask"].sum(), golden["loss"][0], rtol=1e-6)
    weights = {"vit.embeddings.position_embeddings": np.zeros((1, 17, 32))}
    with pytest.raises(ValueError, match="position_embeddings is not the sines of this grid"):
        from_torch_names(MAE(3, patch_size=8, decoder_width=16, decoder_features=24, **FIELDS), weights, (32, 32, 3))


@pytest.mark.slow
@pytest.mark.covers("SS-19", "VD-21")
def test_video_mae_equals_transformers():
    """Its targets are normalized in each channel of a patch."""
    model = VideoMAE(
        3, patch_size=16, tubelet=2, decoder_width=24, decoder_features=32, mask_ratio=0.625, epsilon=1e-12, **FIELDS
    )
    golden, meta, variables, inputs = golden_of("hf_videomae_pre", model, (4, 32, 32, 3))
    clips = jnp.asarray(inputs["pixel_values"].transpose(0, 1, 3, 4, 2))
    hidden = np.asarray(inputs["bool_masked_pos"])
    out = jax.jit(model.apply)(variables, clips, jnp.asarray(hidden, jnp.float32))
    np.testing.assert_array_equal(out["mask"], hidden)
    prediction = np.asarray(out["prediction"])[hidden > 0].reshape(2, 5, -1)
    check_output(golden, meta, "logits", prediction)
    frames = clips * jnp.array([0.229, 0.224, 0.225]) + jnp.array([0.485, 0.456, 0.406])
    losses = jnp.square(out["prediction"] - tubelet_targets(model.patches(frames), 3)).mean(-1)
    np.testing.assert_allclose(losses[hidden > 0].mean(), golden["loss"][0], rtol=1e-5)


@pytest.mark.covers("SS-19")
def test_the_published_size():
    """With the two tables of positions, of the class token (zeros) and 14 x 14 patches, which torch counts too."""
    count, _ = count_once(MAE(3), np.zeros((1, 224, 224, 3), np.float32), np.zeros((1, 196), np.float32))
    assert count + 197 * (768 + 512) == 111_907_840


@pytest.fixture(scope="module")
def tiny():
    x = jax.random.uniform(jax.random.key(0), (2, 8, 8, 1))
    noise = jax.random.uniform(jax.random.key(1), (2, 16))
    return x, noise, TINY.init(jax.random.key(2), x, noise)


@pytest.mark.weekly
@pytest.mark.covers("SS-19")
def test_the_encoder_sees_nothing_of_masked_patches(tiny):
    x, noise, variables = tiny
    run = jax.jit(TINY.apply)
    out = run(variables, x, noise)
    chex.assert_shape(out["tokens"], (2, 5, 8), custom_message="the class token and a quarter of 16 patches")
    assert out["mask"].sum() == 24
    hidden = jnp.kron(out["mask"].reshape(2, 4, 4), jnp.ones((2, 2)))[..., None]
    other = run(variables, jnp.where(hidden > 0, 9.0, x), noise)
    np.testing.assert_array_equal(other["prediction"], out["prediction"])
    third = run(variables, jnp.where(hidden > 0, x, x + 1), noise)
    assert np.abs(third["prediction"] - out["prediction"]).max() > 1e-4


def test_the_number_of_seen_patches_is_rounded_down_and_neither_none_nor_all():
    assert visible_count(196, 0.75) == 49
    assert visible_count(10, 0.9) == 1  # 10 (1 - 0.9) is 0.99999... in floating point
    assert visible_count(10, 0.55) == 4
    for ratio, count in ((0.99, 0), (0.0, 16)):
        with pytest.raises(
            ValueError, match=f"mask_ratio={ratio}: leaves {count} of 16 patches; allowed: 1 to 15 seen"
        ):
            visible_count(16, ratio)


def facebook_entries(rng, table):
    """An encoder of one block, 8 wide, of patches of 2 x 2 x 3, in the names of facebook's files; with a decoder."""
    shapes = {"cls_token": (1, 1, 8), "patch_embed.proj.weight": (8, 3, 2, 2), "patch_embed.proj.bias": (8,)}
    shapes |= {"blocks.0.attn.qkv.weight": (24, 8), "blocks.0.attn.qkv.bias": (24,), "decoder_embed.weight": (4, 8)}
    for name, sizes in {"attn.proj": (8, 8), "mlp.fc1": (12, 8), "mlp.fc2": (8, 12)}.items():
        shapes |= {f"blocks.0.{name}.weight": sizes, f"blocks.0.{name}.bias": sizes[:1]}
    norms = ("blocks.0.norm1", "blocks.0.norm2", "norm")
    shapes |= {f"{norm}.{leaf}": (8,) for norm in norms for leaf in ("weight", "bias")}
    entries = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return entries | {"pos_embed": np.concatenate([np.zeros((1, 8)), table])[None]}


def test_an_encoder_is_read_from_facebooks_names():
    """A patch is read by rows, columns and channels; what stands behind the encoder is left out."""
    model = MAE(3, patch_size=2, depth=1, width=8, num_heads=2, mlp_features=12, decoder_depth=0)
    table = np.asarray(model.positions((2, 3), 8))
    entries = facebook_entries(np.random.default_rng(0), table)
    params = from_torch_names(model, entries, (4, 6, 3))["params"]
    found = {np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(params)}
    expected = [entries[f"blocks.0.{name}.weight"].T for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")]
    expected += [entries["patch_embed.proj.weight"].transpose(2, 3, 1, 0).reshape(12, 8)]
    expected += [value for value in entries.values() if value.ndim == 1]
    for leaf in expected:
        assert np.ascontiguousarray(leaf).tobytes() in found
    assert len(found) == 17  # of 19 entries, without positions and decoder
    with pytest.raises(ValueError, match=r"it does not fit MAE; 1 missing: vit\.layernorm\.bias"):
        from_torch_names(model, {key: value for key, value in entries.items() if key != "norm.bias"}, (4, 6, 3))
    wrong = {**entries, "pos_embed": entries["pos_embed"] + 1e-3}
    with pytest.raises(
        ValueError, match=r"position_embeddings is not the sines of this grid; allowed: tables of \(4, 6"
    ):
        from_torch_names(model, wrong, (4, 6, 3))
    with pytest.raises(ValueError, match="is not the sines of this grid"):
        from_torch_names(model, entries, (4, 4, 3))
