"""ConvNeXt against torchvision, its block by formula, and layer scale."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from dlcore.models import create_model
from dlcore.models.convnext import ConvNeXtBlock
from tests.models.cost import stages_of


def images(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.slow
def test_a_block_is_its_formula_and_nearly_nothing_at_first():
    x, block = images(1, 3, 3, 2), ConvNeXtBlock()
    out, variables = jax.jit(block.init_with_output)(jax.random.key(0), x)
    np.testing.assert_allclose(out, x, atol=1e-5)
    np.testing.assert_array_equal(variables["params"]["layer_scale"], np.full(2, 1e-6, np.float32))
    p = jax.tree.map(np.asarray, {**variables["params"], "layer_scale": jnp.asarray([0.5, 2.0])})
    z = np.zeros((3, 3, 2))
    for r, c, dr, dc in np.ndindex(3, 3, 7, 7):  # a 3 x 3 map lies within the 7 x 7 of each of its pixels
        if 0 <= r + dr - 3 < 3 and 0 <= c + dc - 3 < 3:
            z[r, c] += np.asarray(x)[0, r + dr - 3, c + dc - 3] * p["block_0"]["kernel"][dr, dc, 0]
    z += p["block_0"]["bias"]
    z = (z - z.mean(-1, keepdims=True)) / np.sqrt(z.var(-1, keepdims=True) + 1e-6)
    h = z @ p["block_3"]["kernel"] + p["block_3"]["bias"]
    z = h * scipy.stats.norm.cdf(h) @ p["block_5"]["kernel"] + p["block_5"]["bias"]
    np.testing.assert_allclose(jax.jit(block.apply)({"params": p}, x)[0], x[0] + [0.5, 2.0] * z, atol=1e-5)
    many, dropped = jnp.repeat(x, 32, 0), ConvNeXtBlock(drop_path=0.5)
    out = jax.jit(lambda key: dropped.apply({"params": p}, many, True, rngs={"dropout": key}))(jax.random.key(1))
    gone = np.isclose(out, many).all((1, 2, 3))
    assert 6 < gone.sum() < 26
    np.testing.assert_allclose(out[~gone], np.repeat(x + 2 * np.array([0.5, 2.0]) * z, (~gone).sum(), 0), atol=1e-4)


def test_strides():
    assert stages_of(create_model("convnext_tiny", stages=(1, 1, 1, 1))) == {
        f"stage{i + 1}": {"stride": 4 * 2**i, "channels": 96 * 2**i} for i in range(4)
    }
    small = create_model("convnext_tiny", stages=(1, 1), widths=(4, 8), patch_size=1)
    assert [stage["stride"] for stage in stages_of(small, (8, 8, 3)).values()] == [1, 2]
