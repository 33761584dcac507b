"""FastViT against timm, its mixer by formula, and the fold of branches and shortcuts."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, torch_names
from dlcore.models.fastvit import RepMixer, fold_branches
from dlcore.models.stored_counts import stored_models
from tests.models.test_repvgg import images, normalized, random_variables

TINY = {"stages": (1, 1), "widths": (8, 32), "attention": True, "num_classes": 3}


@pytest.mark.weekly
@pytest.mark.covers("ZO-32")
def test_a_folded_network_equals_the_unfolded_one():
    """With attention and its positions; the batch norms before MLPs and attention stay."""
    model, folded = create_model("fastvit_sa12", **TINY), create_model("fastvit_sa12", folded=True, **TINY)
    x = images(2, 32, 32, 3)
    variables = random_variables(model, x)
    merged = fold_branches(variables)
    chex.assert_trees_all_equal_shapes(merged, jax.eval_shape(lambda: folded.init(jax.random.key(0), x)))
    expected = jax.jit(model.apply)(variables, x)
    np.testing.assert_allclose(jax.jit(folded.apply)(merged, x), expected, rtol=1e-5, atol=1e-5 * np.std(expected))
    with pytest.raises(ValueError, match="variables: no module has branches"):
        fold_branches(merged)


@pytest.mark.covers("ZO-32")
def test_the_mixer_by_formula_and_its_fold():
    """x + gamma (sum of the three branches - BN(x)), in float64 by NumPy."""
    x, layer = images(1, 4, 5, 3), RepMixer()
    variables = random_variables(layer, x, False)
    p, s = (jax.tree.map(lambda v: np.asarray(v, np.float64), variables[k]) for k in ("params", "batch_stats"))
    pixels, mixer = np.asarray(x[0], np.float64), p["mixer"]
    patches = np.lib.stride_tricks.sliding_window_view(np.pad(pixels, ((1, 1), (1, 1), (0, 0))), (3, 3), (0, 1))
    large = np.einsum("hwcij,ijc->hwc", patches, mixer["large"]["0"]["kernel"][:, :, 0])
    small = pixels * mixer["small"]["0"]["kernel"][0, 0, 0]
    mixed = normalized(large, mixer["large"]["1"], s["mixer"]["large"]["1"])
    mixed += normalized(small, mixer["small"]["1"], s["mixer"]["small"]["1"])
    mixed += normalized(pixels, mixer["identity"], s["mixer"]["identity"])
    expected = pixels + p["layer_scale"] * (mixed - normalized(pixels, p["norm"], s["norm"]))
    apply = jax.jit(lambda v, folded: RepMixer(folded=folded).apply(v, x, False), static_argnums=1)
    np.testing.assert_allclose(apply(variables, False)[0], expected, atol=1e-5)
    merged = jax.jit(fold_branches)(variables)
    assert jax.tree.map(jnp.shape, merged) == {"params": {"folded": {"kernel": (3, 3, 1, 3), "bias": (3,)}}}
    np.testing.assert_allclose(apply(merged, True)[0], expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("ZO-32")
def test_names_of_attention_and_of_the_folded_form_are_timms():
    names = set(torch_names("fastvit_sa12", **TINY).values())
    assert {
        "stages.1.pos_emb.pos_enc.weight", "stages.1.blocks.0.norm.running_mean",
        "stages.1.blocks.0.token_mixer.qkv.weight", "stages.1.blocks.0.token_mixer.proj.bias",
        "stages.1.blocks.0.layer_scale_1.gamma", "stages.1.blocks.0.layer_scale_2.gamma",
        "stages.1.downsample.proj.0.large_conv.conv.weight", "stages.1.downsample.proj.0.small_conv.bn.bias",
    } <= names  # fmt: skip
    assert "stages.1.blocks.0.token_mixer.qkv.bias" not in names
    names = set(torch_names("fastvit_sa12", folded=True, **TINY).values())
    assert {
        "stem.0.reparam_conv.weight", "stages.0.blocks.0.token_mixer.reparam_conv.bias",
        "stages.1.pos_emb.reparam_conv.weight", "stages.1.downsample.proj.0.reparam_conv.weight",
        "stages.1.downsample.proj.1.reparam_conv.weight", "final_conv.reparam_conv.weight", "final_conv.se.fc1.weight",
    } <= names  # fmt: skip


@pytest.mark.covers("ZO-32")
@pytest.mark.parametrize(
    ("name", "millions"),  # of timm's unfolded networks; in the paper folded 3.6, 6.8, 10.9, 30.4 and 42.7
    [("t8", 4.03), ("t12", 7.55), ("sa12", 11.58), ("sa36", 31.53), ("ma36", 44.07)],
)
def test_stored_parameter_counts(name, millions):
    parameters = stored_models("image")[f"fastvit_{name}"]["parameters"]
    assert parameters / 1e6 == pytest.approx(millions, abs=0.006)


def test_folded_positions_are_added_to_the_pixel_itself():
    kernel = np.random.default_rng(0).normal(size=(7, 7, 1, 2)).astype(np.float32)
    positions = {"pos_enc": {"kernel": kernel, "bias": np.float32([3, 4])}}
    variables = {"params": {"positions": positions, "head": {"bias": np.zeros(1)}}}
    found = fold_branches(variables)["params"]
    expected = kernel.copy()
    expected[3, 3, 0] += 1
    np.testing.assert_array_equal(found["positions"]["folded"]["kernel"], expected)
    np.testing.assert_array_equal(found["positions"]["folded"]["bias"], [3, 4])
    assert found["head"].keys() == {"bias"}
