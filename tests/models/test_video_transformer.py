"""TimeSformer and ViViT against transformers, and divided attention by its reach."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, load_torch
from dlcore.models.stored_counts import stored_models
from dlcore.models.video_transformer import DividedBlock
from tests.models.parity import check_output, read_golden, weight_rule

FIELDS = {"num_classes": 0, "frames": 4, "image_size": 32, "depth": 2, "width": 32, "num_heads": 4, "mlp_features": 64}
CASES = {
    "hf_timesformer": ("timesformer_base", FIELDS, ("blocks_0", "blocks_1")),
    "hf_vivit": ("vivit_b_16x2", FIELDS | {"pooler": True}, ("Dropout_0", "blocks_0", "blocks_1")),
}


@pytest.mark.slow
@pytest.mark.covers("VD-19")
@pytest.mark.parametrize("file", CASES)
def test_tokens_equal_those_of_transformers(file):
    name, fields, modules = CASES[file]
    golden, meta, weights = read_golden(file)
    model, variables = create_model(name, **fields), load_torch(name, weights, **fields)
    x = np.asarray(weight_rule().det_input(meta["inputs"]["pixel_values"])).transpose(0, 1, 3, 4, 2)

    @jax.jit
    def run(variables, x):
        inside = lambda module, method: method == "__call__" and module.name in modules  # noqa: E731
        return model.apply(variables, x, method="tokens", capture_intermediates=inside), model.apply(variables, x)

    (tokens, state), pooled = run(variables, x)
    check_output(golden, meta, "last_hidden_state", tokens)
    if "pooler_output" in golden:
        check_output(golden, meta, "pooler_output", pooled)
    for i, module in enumerate(reversed(modules)):
        value = state["intermediates"][module]["__call__"][0]
        check_output(golden, meta, f"hidden_states.{2 - i}", value)


def layer_norm(x, params):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return x * params["scale"] + params["bias"]


def dense(x, params):
    return x @ params["kernel"] + params["bias"]


def attention(x, params):
    """One head, of tokens [N, D]."""
    query, key, value = np.split(dense(x, params["qkv"]), 3, -1)
    weights = np.exp(query @ key.T / np.sqrt(x.shape[-1]))
    return dense(weights / weights.sum(-1, keepdims=True) @ value, params["proj"])


@pytest.mark.covers("VD-19")
def test_divided_attention_is_that_of_numpy():
    """Time for each of 3 patches, then space in each of 2 frames, the class token's two updates averaged; float64."""
    patches, frames, width = 3, 2, 4
    block, rng = DividedBlock(1, 4, frames), np.random.default_rng(0)
    z = rng.normal(size=(1, 1 + patches * frames, width))
    shapes = jax.eval_shape(lambda: block.init(jax.random.key(0), jnp.asarray(z)))["params"]
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), shapes)
    params["mlp"]["fc2"] = jax.tree.map(np.zeros_like, params["mlp"]["fc2"])
    with jax.enable_x64(True):
        got = jax.jit(block.apply)({"params": params}, z)[0]
    token, x = z[0, 0], z[0, 1:].reshape(patches, frames, width)
    time = [attention(layer_norm(patch, params["temporal_norm"]), params["temporal_attn"]) for patch in x]
    x = x + dense(np.stack(time), params["temporal_dense"])
    space = [attention(layer_norm(np.vstack([token, x[:, t]]), params["norm1"]), params["attn"]) for t in range(frames)]
    token = token + np.mean([frame[0] for frame in space], 0)
    x = x + np.stack([frame[1:] for frame in space], 1)
    np.testing.assert_allclose(got, np.vstack([token, x.reshape(-1, width)]), rtol=1e-8)


@pytest.mark.slow
def test_a_patch_sees_its_row_of_time_and_then_its_frame():
    """One block: patch 0 of frame 0 of 3 x 2 sees all patches of all frames, but with time alone its own patch."""
    block, z = DividedBlock(1, 4, 2), jax.random.normal(jax.random.key(1), (1, 1 + 3 * 2, 4))
    params = jax.jit(block.init)(jax.random.key(0), z)
    jacobian = jax.jit(jax.jacobian(lambda z, params: block.apply(params, z)[0, 1]))
    assert (np.abs(jacobian(z, params)).max((0, 1, 3)) > 0).all()
    params["params"]["attn"]["proj"]["kernel"] *= 0
    has_reach = np.abs(jacobian(z, params)).max((0, 1, 3)) > 0
    np.testing.assert_array_equal(has_reach, [False, True, True, False, False, False, False])


@pytest.mark.covers("VD-19")
def test_parameter_counts():
    """Both have the 12 blocks of ViT-B, 85,054,464, a norm of 2 * 768 and a head of 769 * 400.

    TimeSformer (121.4M in the paper) adds to each block attention, a dense layer and a norm of time.
    """
    shared = 85_054_464 + 2 * 768 + 769 * 400
    stored = stored_models("video")
    time = 12 * (4 * 768 * 769 + 768 * 769 + 2 * 768)
    tables = 768 * (768 + 1) + 768 * (1 + 197 + 8)
    assert stored["timesformer_base"]["parameters"] == shared + time + tables
    assert stored["vivit_b_16x2"]["parameters"] == shared + 768 * (1536 + 1) + 768 * (1 + 3137)
