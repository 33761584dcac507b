"""Swin transformers against torchvision and transformers, their windows, the mask of a shift, and merging."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, load_torch, torch_names, torch_weights
from dlcore.models.swin import PatchMerging, SwinBlock, shift_mask, windows
from dlcore.nn import MultiHeadAttention
from tests.models.cost import stages_of
from tests.models.parity import check_output, nhwc, read_golden, weight_rule

TINY = {
    "stages": (2, 2),
    "width": 8,
    "num_heads": (2, 4),
    "patch_size": 2,
    "window_size": 4,
    "mlp_ratio": 2,
    "num_classes": 5,
}


def images(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def weights_by_rule(name, **fields):
    """A state dict filled by the goldens' rule, for fields of which there is no golden."""
    rule, state_dict = weight_rule(), {}
    leaves = torch_weights._leaves(torch_weights._variables(name, fields))
    for path, key in torch_names(name, **fields).items():
        shape = leaves[path].shape
        shape = (shape[-1], shape[-2], *shape[:-2]) if path.endswith("/kernel") else shape
        state_dict[key] = rule.det_tensor(key, shape)
    return state_dict


@pytest.mark.slow
@pytest.mark.covers("AT-24")
def test_sides_that_neither_windows_nor_merging_divide_equal_torchvision():
    """Patches of 22 x 18 make 11 x 9, padded to 12 x 12; merged 6 x 5, padded to 8 x 8. Its numbers, in float64."""
    variables = load_torch("swin_t", weights_by_rule("swin_t", **TINY), **TINY)
    x = nhwc(weight_rule().det_input({"shape": [2, 3, 22, 18], "seed": 3}))
    want = [
        [-0.407188, 0.493719, -1.101488, 1.125695, 0.083419],
        [-0.314203, -0.309524, -0.576661, 1.258381, -0.908134],
    ]
    np.testing.assert_allclose(jax.jit(create_model("swin_t", **TINY).apply)(variables, x), want, atol=2e-5)


@pytest.mark.slow
@pytest.mark.covers("AT-24", "AT-12")
def test_swin_equals_transformers_stage_by_stage():
    golden, meta, weights = read_golden("hf_swin")
    ours = {
        "features.0.0.weight": weights.pop("embeddings.patch_embeddings.projection.weight"),
        "features.0.0.bias": weights.pop("embeddings.patch_embeddings.projection.bias"),
        "features.0.2.weight": weights.pop("embeddings.norm.weight"),
        "features.0.2.bias": weights.pop("embeddings.norm.bias"),
        "norm.weight": weights.pop("layernorm.weight"),
        "norm.bias": weights.pop("layernorm.bias"),
        "head.weight": np.eye(32, dtype=np.float32),
        "head.bias": np.zeros(32, np.float32),
    }
    names = {
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.proj": "attention.o_proj",
        "mlp.0": "mlp.fc1",
        "mlp.3": "mlp.fc2",
    }
    for i, j in np.ndindex(2, 2):
        block, theirs = f"features.{2 * i + 1}.{j}.", f"encoder.layers.{i}.blocks.{j}."
        for leaf in ("weight", "bias"):
            ours |= {f"{block}{name}.{leaf}": weights.pop(f"{theirs}{key}.{leaf}") for name, key in names.items()}
            parts = [weights.pop(f"{theirs}attention.{n}_proj.{leaf}") for n in "qkv"]
            ours[f"{block}attn.qkv.{leaf}"] = np.concatenate(parts)
        table = "relative_position_bias_table"
        ours[f"{block}attn.{table}"] = weights.pop(f"{theirs}attention.relative_position_bias.{table}")
    for leaf in ("reduction.weight", "norm.weight", "norm.bias"):
        ours[f"features.2.{leaf}"] = weights.pop(f"encoder.layers.0.downsample.{leaf}")
    assert not weights
    fields = TINY | {"width": 16, "num_classes": 32}
    model, variables = create_model("swin_t", **fields), load_torch("swin_t", ours, **fields)
    x = nhwc(weight_rule().det_input(meta["inputs"]["pixel_values"]))
    run = jax.jit(lambda x: model.apply(variables, x, capture_intermediates=True, mutable=["intermediates"]))
    pooled, state = run(x)
    check_output(golden, meta, "pooler_output", pooled)
    outputs = {
        name: node["__call__"][0]
        for name, node in state["intermediates"].items()
        if name != "__call__" and "__call__" in node
    }
    for i, module in enumerate(("features_0_2", "features_2", "features_3_1")):
        check_output(golden, meta, f"hidden_states.{i}", outputs[module].reshape(2, -1, outputs[module].shape[-1]))
        check_output(golden, meta, f"reshaped_hidden_states.{i}", outputs[module].transpose(0, 3, 1, 2))
    check_output(golden, meta, "last_hidden_state", outputs["norm"].reshape(2, -1, 32))


@pytest.mark.covers("AT-24")
def test_windows_are_squares_of_neighbors():
    x = jnp.arange(24).reshape(1, 4, 6)
    np.testing.assert_array_equal(windows(x, 2)[0, 0], [0, 1, 6, 7])
    np.testing.assert_array_equal(windows(x, 2)[0, 4], [14, 15, 20, 21])
    chex.assert_shape(windows(x, 2), (1, 6, 4))


@pytest.mark.covers("AT-24")
def test_the_mask_of_a_shift_by_hand():
    """Four columns and two rows, windows of 2, moved by one column: those of the last window are 3 and 0."""
    mask = shift_mask((2, 4), 2, (0, 1))
    chex.assert_shape(mask, (2, 4, 4))
    assert mask[0].all()
    left_right = np.array([0, 1, 0, 1])
    np.testing.assert_array_equal(mask[1], left_right[:, None] == left_right[None])
    both = shift_mask((4, 4), 2, (1, 1))
    assert both[0].all()
    np.testing.assert_array_equal(both[3], np.eye(4))  # four corners of the image meet in the last window


@pytest.mark.slow(unless=["2"])
@pytest.mark.covers("AT-24")
@pytest.mark.parametrize("shift", [0, 2])
def test_attention_stays_in_windows_and_does_not_cross_pieces(shift):
    """Of an 8 x 8 map in windows of 4: what a pixel sees, read off the gradient."""
    block, x = SwinBlock(2, 4, shift, hidden=8), images(1, 8, 8, 4)
    variables = jax.jit(block.init)(jax.random.key(0), x)

    @jax.jit
    def seen(row, column):
        slope = jax.grad(lambda x: jnp.square(block.apply(variables, x)[0, row, column]).sum())(x)
        return jnp.abs(slope[0]).sum(-1) > 0

    edges = [0, 4, 8] if shift == 0 else [0, 2, 6, 8]
    for row, column in ((0, 0), (3, 3), (7, 2), (7, 7)):
        want = np.zeros((8, 8), bool)
        inside = [next((a, b) for a, b in itertools.pairwise(edges) if a <= p < b) for p in (row, column)]
        want[slice(*inside[0]), slice(*inside[1])] = True
        np.testing.assert_array_equal(seen(row, column), want, err_msg=f"{row}, {column}")


@pytest.mark.slow
@pytest.mark.covers("AT-24")
def test_blocks_alternate_and_the_grid_is_a_quarter():
    info = stages_of(create_model("swin_t"))
    assert info == {f"stage{i + 1}": {"stride": 4 * 2**i, "channels": 96 * 2**i} for i in range(4)}
    shapes = jax.eval_shape(lambda: create_model("swin_t").init(jax.random.key(0), jnp.zeros((1, 224, 224, 3))))
    chex.assert_shape(shapes["params"]["features_1_0"]["bias_table"]["embedding"], (13**2, 3))
    shifts = []

    class Watched(SwinBlock):
        def __call__(self, x, train=False):
            shifts.append(self.shift)
            return x

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dlcore.models.swin.SwinBlock", Watched)
        jax.eval_shape(lambda: create_model("swin_t").init(jax.random.key(0), jnp.zeros((1, 224, 224, 3))))
    assert shifts == [0, 3] * 6


@pytest.mark.covers("AT-24")
def test_merging_takes_four_c_to_two_c_and_halves_the_grid():
    x, layer = images(1, 4, 6, 3), PatchMerging()
    out, variables = jax.jit(layer.init_with_output)(jax.random.key(0), x)
    p = variables["params"]
    assert jax.tree.map(jnp.shape, p) == {"norm": {"scale": (12,), "bias": (12,)}, "reduction": {"kernel": (12, 6)}}
    chex.assert_shape(out, (1, 2, 3, 6))
    four = jnp.concatenate([x[0, 2, 4], x[0, 3, 4], x[0, 2, 5], x[0, 3, 5]])  # down before right
    want = (four - four.mean()) / jnp.sqrt(four.var() + 1e-5) @ p["reduction"]["kernel"]
    np.testing.assert_allclose(out[0, 1, 2], want, atol=1e-5)


@pytest.mark.covers("AT-24", "AT-12")
def test_cost_is_linear_in_the_size_of_the_image():
    """Twice each side: four times the cost in windows, and sixteen times that of a map of weights over all pixels."""

    def flops(layer, x):
        x = jax.ShapeDtypeStruct(x, jnp.float32)
        variables = jax.eval_shape(layer.init, jax.random.key(0), x)
        return jax.jit(layer.apply).lower(variables, x).cost_analysis()["flops"]

    block = SwinBlock(1, 7, hidden=4)
    assert flops(block, (1, 56, 56, 4)) / flops(block, (1, 28, 28, 4)) == pytest.approx(4, rel=0.01)
    everywhere = MultiHeadAttention(1, fused_qkv=True)
    assert flops(everywhere, (1, 56**2, 4)) / flops(everywhere, (1, 28**2, 4)) == pytest.approx(16, rel=0.05)


@pytest.mark.slow
@pytest.mark.covers("AT-12")
def test_moving_the_image_by_a_window_moves_the_map():
    """There are no absolute positions: content moved by one window gives the same numbers there."""
    block, x = SwinBlock(2, 4, hidden=8), images(1, 4, 8, 4)
    variables = jax.jit(block.init)(jax.random.key(0), x)
    variables = jax.tree.map(lambda v: v + 0.1 * images(*v.shape, seed=v.size), variables)
    run = jax.jit(block.apply)
    np.testing.assert_allclose(run(variables, jnp.roll(x, 4, 2)), jnp.roll(run(variables, x), 4, 2), atol=1e-5)
    still = run({"params": variables["params"] | {"bias_table": {"embedding": jnp.zeros((49, 2))}}}, x)
    assert not np.allclose(still, run(variables, x), atol=1e-3)


def test_features_are_maps_whatever_the_padding():
    model = create_model("swin_t", **TINY)
    shapes = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), images(1, 22, 18, 3), method="features"))
    assert {name: m.shape for name, m in shapes[0].items()} == {"stage1": (1, 11, 9, 8), "stage2": (1, 6, 5, 16)}
