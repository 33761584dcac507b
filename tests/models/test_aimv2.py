"""AIMv2's encoder against transformers, its pool by NumPy, and the names of timm and Apple."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, load_torch
from dlcore.models.aimv2 import AttentionPool, from_torch
from dlcore.models.registry import example_inputs
from tests.models.parity import check_hidden_states, check_output, parameter_count

TINY = {"image_size": 32, "patch_size": 8, "width": 32, "depth": 2, "num_heads": 4, "mlp_features": 64}


@pytest.mark.slow
@pytest.mark.covers("AT-46")
def test_it_equals_transformers_block_by_block():
    pooled, golden, meta, inside = check_hidden_states("hf_aimv2", "aimv2_large_patch14_224", pool="attention", **TINY)
    check_output(golden, meta, "pooler_output", pooled)
    check_output(golden, meta, "last_hidden_state", inside["norm"])


@pytest.mark.covers("AT-46")
def test_parameter_count():
    """timm's: patches and their norm, 256 positions, 24 blocks of 4 width^2 + 3 width units + 2 width, a norm."""
    block = 4 * 1024**2 + 3 * 1024 * 2816 + 2 * 1024
    count = 3 * 14**2 * 1024 + 1024 + 1024 + 256 * 1024 + 24 * block + 1024
    assert parameter_count("aimv2_large_patch14_224") == count == 309_197_824


@pytest.mark.covers("AT-46")
def test_the_pool_by_hand():
    """One head of one channel, query ln 3, keys 1 and 0 of tokens 1 and 0: weights 3/4 and 1/4 of values 2 and 0."""
    one = {"kernel": jnp.ones((1, 1))}
    params = {"cls_token": jnp.full((1, 1, 1), np.log(3)), "key": one, "value": {"kernel": jnp.full((1, 1), 2.0)}}
    params["proj"] = {"kernel": jnp.full((1, 1), 10.0), "bias": jnp.ones(1)}
    pooled = AttentionPool(1).apply({"params": params}, jnp.array([[[1.0], [0.0]]]))
    np.testing.assert_allclose(pooled, [[10 * 1.5 + 1]], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("AT-46")
@pytest.mark.parametrize("project", ["timm", "apple"])
def test_names_of_other_projects(project):
    fields = TINY | {"depth": 1}
    model = create_model("aimv2_large_patch14_224", **fields)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *example_inputs("aimv2_large_patch14_224", fields))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)["params"]
    block, is_apple = params["blocks_0"], project == "apple"
    front, trunk = ("preprocessor.", "trunk.") if is_apple else ("", "")
    patches = f"{front}patchifier" if is_apple else "patch_embed"
    published = {
        f"{patches}.proj.weight": params["patch_embed"]["kernel"].transpose(3, 2, 0, 1),
        f"{patches}.proj.bias": params["patch_embed"]["bias"],
        f"{patches}.norm.weight": params["patch_norm"]["scale"],
        f"{front}pos_embed": params["pos_embed"]["embedding"],
        "trunk.post_trunk_norm.weight" if is_apple else "norm.weight": params["norm"]["scale"],
    }
    names = {"gate": "fc1", "fc1": "fc3", "fc2": "fc2"} if is_apple else {"gate": "fc1_g", "fc1": "fc1_x", "fc2": "fc2"}
    for ours, theirs in names.items():
        published[f"{trunk}blocks.0.mlp.{theirs}.weight"] = block["mlp"][ours]["kernel"].T
    for part in ("qkv", "proj"):
        published[f"{trunk}blocks.0.attn.{part}.weight"] = block["attn"][part]["kernel"].T
    for i in (1, 2):
        published[f"{trunk}blocks.0.norm{'_' if is_apple else ''}{i}.weight"] = block[f"norm{i}"]["scale"]
    jax.tree.map(
        np.testing.assert_array_equal, load_torch("aimv2_large_patch14_224", published, **fields)["params"], params
    )


@pytest.mark.covers("AT-46")
def test_a_table_without_a_batch_axis_is_interpolated():
    """All four positions are the same, and so are the nine."""
    table = np.tile(np.arange(5.0, dtype=np.float32), (4, 1))
    got = from_torch("params/pos_embed/embedding", table, (1, 9, 5))
    np.testing.assert_allclose(got, np.tile(np.arange(5.0), (1, 9, 1)), atol=1e-6)
