"""Swin transformers V2 against torchvision and transformers, cosines and biases of offsets by NumPy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, load_torch
from dlcore.models.swin_v2 import PatchMergingV2
from dlcore.nn import MultiHeadAttention
from dlcore.nn.position import ContinuousPositionBias
from tests.models.parity import check_output, nhwc, parameter_count, read_golden, weight_rule

TINY = {"stages": (2, 2), "width": 16, "num_heads": (2, 4), "patch_size": 2, "window_size": 4, "mlp_ratio": 2}
TINY |= {"num_classes": 0}


@pytest.mark.slow
@pytest.mark.covers("AT-36")
def test_swin_v2_equals_transformers_stage_by_stage():
    golden, meta, weights = read_golden("hf_swinv2")
    model, variables = create_model("swin_v2_t", **TINY), load_torch("swin_v2_t", weights, **TINY)
    x = nhwc(weight_rule().det_input(meta["inputs"]["pixel_values"]))
    run = jax.jit(lambda x: model.apply(variables, x, capture_intermediates=True, mutable=["intermediates"]))
    pooled, state = run(x)
    check_output(golden, meta, "pooler_output", pooled)
    inside = {
        name: node["__call__"][0]
        for name, node in state["intermediates"].items()
        if name != "__call__" and "__call__" in node
    }
    for i, module in enumerate(("features_0_2", "features_2", "features_3_1")):
        check_output(golden, meta, f"hidden_states.{i}", inside[module].reshape(2, -1, inside[module].shape[-1]))
        check_output(golden, meta, f"reshaped_hidden_states.{i}", inside[module].transpose(0, 3, 1, 2))
    check_output(golden, meta, "last_hidden_state", inside["norm"].reshape(2, -1, 32))


@pytest.mark.slow(only=["swin_v2_b*"])
@pytest.mark.covers("AT-36")
@pytest.mark.parametrize(
    ("name", "width", "stages", "count"),
    [("swin_v2_t", 96, (2, 2, 6, 2), 28_351_570), ("swin_v2_b", 128, (2, 2, 18, 2), 87_930_848)],
)
def test_parameter_counts(name, width, stages, count):
    """torchvision's, which count a bias of each block's keys that is 0."""
    keys = sum(blocks * width * 2**i for i, blocks in enumerate(stages))
    assert parameter_count(name) == count - keys


@pytest.mark.covers("AT-36")
def test_biases_of_offsets_by_numpy():
    """Two columns: offsets -1, 0 and 1 are -8, 0 and 8 of 8, and s of them -log2(9) / 3, 0 and log2(9) / 3."""
    layer = ContinuousPositionBias((1, 2), 1, hidden_features=2)
    hidden = {"kernel": np.float32([[5, 5], [1, -2]]), "bias": np.float32([0, 0.5])}
    params = {"hidden": hidden, "out": {"kernel": np.float32([[1], [3]])}}
    wider = ContinuousPositionBias((1, 3), 1, reference=2, hidden_features=2)
    bias, same = jax.jit(lambda p: [module.apply({"params": p}) for module in (layer, wider)])(params)
    s = np.log2(9) / 3
    out = {1: s, 0: 3 * 0.5, -1: 3 * (2 * s + 0.5)}  # relu(s, 1/2 - 2 s) (1, 3), and 1/2 - 2 s < 0
    expected = [[16 / (1 + np.exp(-out[i - j])) for j in (0, 1)] for i in (0, 1)]
    np.testing.assert_allclose(bias, [expected], rtol=1e-6)
    np.testing.assert_allclose(same[:, :2, :2], [expected], rtol=1e-6)


@pytest.mark.covers("AT-36")
def test_scores_are_cosines_times_at_most_100():
    """Ten times the input gives the same weights; logit_scale 9 is cut at ln 100."""
    layer = MultiHeadAttention(1, fused_qkv=True, cosine=True, use_bias=False)
    x = np.array([[[1.0, 0.0], [0.6, 0.8]]])
    params = {"qkv": {"kernel": jnp.tile(jnp.eye(2), (1, 3))}, "proj": {"kernel": jnp.eye(2)}}
    for scale, factor in ((0.0, 1.0), (9.0, 100.0)):
        scores = factor * np.array([[1.0, 0.6], [0.6, 1.0]])
        weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        for size in (1, 10):
            got = layer.apply({"params": params | {"logit_scale": jnp.full((1, 1), scale)}}, jnp.asarray(size * x))
            np.testing.assert_allclose(got, weights[None] @ (size * x), rtol=1e-5)


@pytest.mark.covers("AT-36")
def test_merging_normalizes_what_it_projects():
    x, layer = jnp.asarray(np.random.default_rng(0).normal(size=(1, 2, 2, 3)), jnp.float32), PatchMergingV2()
    out, variables = jax.jit(layer.init_with_output)(jax.random.key(0), x)
    four = (
        jnp.concatenate([x[0, 0, 0], x[0, 1, 0], x[0, 0, 1], x[0, 1, 1]]) @ variables["params"]["reduction"]["kernel"]
    )
    np.testing.assert_allclose(out[0, 0, 0], (four - four.mean()) / jnp.sqrt(four.var() + 1e-5), atol=1e-4)
    chex.assert_shape(variables["params"]["norm"]["scale"], (6,))
