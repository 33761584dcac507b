"""MViT against torchvision, and its attention and shortcuts by NumPy."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, load_torch, torch_weights
from dlcore.models.mvit import MViTBlock, PooledAttention, distance_indices
from dlcore.models.normalization import normalization
from tests.models.parity import check_output, read_golden, weight_rule
from tests.models.tracing import layers_traced_once

TINY = {"num_classes": 3, "frames": 4, "image_size": 32, "stages": (1, 1), "width": 4}


@pytest.mark.weekly
@pytest.mark.covers("AT-43", "VD-20")
def test_mvit_v2_equals_torchvision():
    golden, meta, weights = read_golden("tvvid_mvit_v2_s")
    clips = jnp.asarray(weight_rule().det_input(meta["inputs"]["x"]).transpose(0, 2, 3, 4, 1))
    logits = jax.jit(create_model("mvit_v2_s").apply)(load_torch("mvit_v2_s", weights), clips)
    check_output(golden, meta, "logits", logits, least=1e-5)


@pytest.mark.slow
@pytest.mark.covers("AT-43")
def test_names_and_shapes_are_torchvisions():
    """The golden lists the published state dict; 34,537,744 numbers."""
    with layers_traced_once():
        leaves = torch_weights._leaves(torch_weights._variables("mvit_v2_s", {}))
    names = {torch_weights._torch_name(path, (("^head", "head.1"),)): leaf.shape for path, leaf in leaves.items()}
    published = dict(read_golden("tvvid_mvit_v2_s", keep=lambda key: False)[1]["state_dict"])
    assert names.keys() == published.keys()
    assert all(sorted(names[key]) == sorted(shape) for key, shape in published.items())
    assert sum(np.prod(shape) for shape in names.values()) == 34_537_744


@pytest.mark.covers("AT-43")
def test_distances_on_the_finer_map():
    """Two keys to four queries: i - 2 (j - 1); and four keys to two queries: 2 i - (j - 3)."""
    np.testing.assert_array_equal(distance_indices(4, 2), [[2, 0], [3, 1], [4, 2], [5, 3]])
    np.testing.assert_array_equal(distance_indices(2, 4), [[3, 2, 1, 0], [5, 4, 3, 2]])


def layer_norm(x, params):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return x * params["scale"] + params["bias"]


def pooled(tokens, params, grid, stride):
    """Tokens [1 + T H W, d] of a head -> [1 + T H' W', d], and (T, H', W')."""
    padded = np.pad(tokens[1:].reshape(*grid, -1), [(1, 1)] * 3 + [(0, 0)])
    rows = [tokens[0]]
    new_grid = (grid[0], grid[1] // stride, grid[2] // stride)
    for t, y, x in np.ndindex(*new_grid):
        y, x = stride * y, stride * x
        window = padded[t : t + 3, y : y + 3, x : x + 3]
        rows.append((window * params["pool"]["kernel"][:, :, :, 0]).sum((0, 1, 2)))
    return layer_norm(np.stack(rows), params["norm_act_0"]), new_grid


def distance_bias(query, params, grid, key_grid):
    """[1 + q, 1 + k]; the class token has none."""
    bias = np.zeros((len(query), 1 + np.prod(key_grid)))
    tables = []
    for axis, name in enumerate(("rel_pos_t", "rel_pos_h", "rel_pos_w")):
        table, length = params[name], 2 * max(grid[axis], key_grid[axis]) - 1
        centers = (np.arange(length) + 0.5) * len(table) / length - 0.5
        tables.append(np.stack([np.interp(centers, np.arange(len(table)), column) for column in table.T], -1))
    for (i, q), (j, k) in itertools.product(enumerate(np.ndindex(*grid), 1), enumerate(np.ndindex(*key_grid), 1)):
        for axis, table in enumerate(tables):
            ratio = grid[axis] / key_grid[axis]
            row = q[axis] * max(1 / ratio, 1) - (k[axis] - key_grid[axis] + 1) * max(ratio, 1)
            bias[i, j] += query[i] @ table[int(row)]
    return bias


@pytest.mark.slow(unless=["2-1-2-8", "1-2-1-4"])
@pytest.mark.covers("AT-43", "VD-20")
@pytest.mark.parametrize(
    ("version", "query_stride", "key_stride", "side"), [(2, 2, 1, 4), (2, 1, 2, 8), (1, 1, 2, 4), (1, 2, 1, 4)]
)
def test_attention_is_that_of_numpy(version, query_stride, key_stride, side):
    """On a map of 2 x 4 x 4, with tables for a map of `side`, in float64; two heads of 3 channels."""
    grid, rng = (2, 4, 4), np.random.default_rng(0)
    layer = PooledAttention(6, 2, query_stride, key_stride, (2, side, side), version)
    x = rng.normal(size=(1, 33, 5))
    shapes = jax.eval_shape(lambda: layer.init(jax.random.key(0), jnp.asarray(x), grid))
    variables = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), shapes)
    with jax.enable_x64(True):
        got = jax.jit(lambda variables, x: layer.apply(variables, x, grid))(variables, x)
    params, heads = variables["params"], []
    qkv = (x[0] @ params["qkv"]["kernel"] + params["qkv"]["bias"]).reshape(33, 3, 2, 3)
    for query, key, value in qkv.transpose(2, 1, 0, 3):
        query_grid, pools_query = grid, version == 2 or query_stride == 2
        assert ("pool_q" in params) == pools_query
        if pools_query:
            query, query_grid = pooled(query, params["pool_q"], grid, query_stride)
        key, key_grid = pooled(key, params["pool_k"], grid, key_stride)
        value, _ = pooled(value, params["pool_v"], grid, key_stride)
        scores = query @ key.T / np.sqrt(3)
        if version == 2:
            scores += distance_bias(query, params, query_grid, key_grid)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        y = weights / weights.sum(-1, keepdims=True) @ value
        if version == 2:
            y[1:] += query[1:]
        heads.append(y)
    expected = np.concatenate(heads, -1) @ params["project_0"]["kernel"] + params["project_0"]["bias"]
    np.testing.assert_allclose(got[0], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.slow(unless=["2"])
@pytest.mark.covers("AT-43")
@pytest.mark.parametrize("version", [1, 2])
def test_shortcut_of_a_block(version):
    """Without branches: version 2 takes the largest of a layer of LN(z); version 1 a layer of LN(the largest of z)."""
    grid, rng = (1, 4, 4), np.random.default_rng(0)
    block = MViTBlock(6, 1, 2, 1, grid, version)
    x = rng.normal(size=(1, 17, 3)).astype(np.float32)
    shapes = jax.eval_shape(lambda: block.init(jax.random.key(0), jnp.asarray(x), grid))["params"]
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)
    params["attn"]["project_0"] = jax.tree.map(np.zeros_like, params["attn"]["project_0"])
    params["mlp_3"] = jax.tree.map(np.zeros_like, params["mlp_3"])
    got = jax.jit(block.apply, static_argnums=2)({"params": params}, x, grid)[0]

    def widened(x):
        x = layer_norm(x, params["norm1" if version == 2 else "norm2"])
        return x @ params["project"]["kernel"] + params["project"]["bias"]

    def largest(x):
        padded = np.pad(x[1:].reshape(4, 4, -1), ((1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
        windows = [padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((0, 1)) for i in range(2) for j in range(2)]
        return np.stack([x[0], *windows])

    expected = largest(widened(x[0])) if version == 2 else widened(largest(x[0]))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def traced(fields, shape, **kwargs):
    """Shapes of what a tiny model gives."""
    model = create_model("mvit_v2_s", **TINY | fields)
    return jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), jnp.zeros(shape), **kwargs)[0])


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, 2])
def test_stages_halve_the_frames_and_double_the_channels(version):
    """Of 4 x 32 x 32: 2 x 8 x 8, then 2 x 4 x 4. Version 1 doubles the channels in the last block of a stage."""
    maps = traced({"version": version}, (1, 4, 32, 32, 3), method="features")
    chex.assert_shape([maps["stage1"], maps["stage2"]], [(1, 2, 8, 8, 4 if version == 2 else 8), (1, 2, 4, 4, 8)])
    chex.assert_shape(traced({"version": version}, (1, 4, 32, 32, 3)), (1, 3))
    chex.assert_shape(traced({"version": version, "num_classes": 0}, (1, 4, 32, 32, 3)), (1, 8))


@pytest.mark.slow
def test_other_clips_than_the_tables_of_version_2():
    chex.assert_shape(traced({}, (2, 6, 40, 24, 3)), (2, 3))


def test_clips_are_normalized_as_published():
    assert normalization("mvit_v2_s") == normalization("mvit_v1_b") == ((0.45,) * 3, (0.225,) * 3)
