"""Attention inside a CNN: identity at first, what it is by formula, and local windows beside the whole image."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.nn import LocalAttention, MultiHeadAttention, NonLocalBlock, SAGANAttention, TransformerEncoderBlock
from tests.nn.test_attention import build, normal

KINDS = ("embedded_gaussian", "gaussian", "dot_product")


def filled(layer, x):
    """Variables without zeros, and the output."""
    variables = jax.tree.map(lambda v: v + 0.3 * normal(v.size, *v.shape), build(layer, x)[1])
    return variables, jax.jit(layer.apply)(variables, x)


@pytest.mark.slow(unless=["shape0-embedded_gaussian", "shape1-dot_product"])
@pytest.mark.covers("AT-26")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(2, 4, 6, 8), (2, 3, 4, 2, 8)])
def test_a_non_local_block_starts_as_the_identity(kind, shape):
    x = normal(0, *shape)
    out, variables = build(NonLocalBlock(kind), x)
    np.testing.assert_array_equal(out, x)
    chex.assert_shape(variables["params"]["out"]["kernel"], (4, 8))
    assert ("theta" in variables["params"]) == (kind != "gaussian")


@pytest.mark.slow(only=["gaussian", "dot_product"])
@pytest.mark.covers("AT-26")
@pytest.mark.parametrize("kind", KINDS)
def test_a_non_local_block_is_its_sum_over_positions(kind):
    x, layer = normal(0, 1, 2, 3, 4), NonLocalBlock(kind, features=4)
    variables, got = filled(layer, x)
    p = jax.tree.map(lambda v: np.asarray(v, np.float64), variables["params"])
    rows = np.asarray(x, np.float64).reshape(6, 4)
    theta, phi = (rows if kind == "gaussian" else rows @ p[n]["kernel"] + p[n]["bias"] for n in ("theta", "phi"))
    g = rows @ p["g"]["kernel"] + p["g"]["bias"]
    y = np.zeros((6, 4))
    for i in range(6):
        product = [theta[i] @ phi[j] for j in range(6)]
        f = product if kind == "dot_product" else np.exp(product)
        y[i] = sum(f[j] * g[j] for j in range(6)) / (6 if kind == "dot_product" else sum(f))
    want = rows + y @ p["out"]["kernel"] + p["out"]["bias"]
    np.testing.assert_allclose(got.reshape(6, 4), want, atol=1e-4)


@pytest.mark.slow
@pytest.mark.covers("AT-26")
def test_the_embedded_gaussian_is_softmax_attention():
    x = normal(0, 2, 3, 3, 8)
    variables, got = filled(NonLocalBlock(), x)
    p = variables["params"]
    rows = x.reshape(2, 9, 8)
    theta, phi, g = (rows @ p[n]["kernel"] + p[n]["bias"] for n in ("theta", "phi", "g"))
    attended = jax.nn.dot_product_attention(theta[:, :, None], phi[:, :, None], g[:, :, None], scale=1.0)[:, :, 0]
    want = rows + attended @ p["out"]["kernel"] + p["out"]["bias"]
    np.testing.assert_allclose(got.reshape(2, 9, 8), want, atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("AT-26")
def test_pooled_keys_keep_the_shape_and_what_is_not_allowed_is_named():
    x = normal(0, 2, 4, 4, 8)
    variables, got = filled(NonLocalBlock(pool=True), x)
    chex.assert_equal_shape([got, x])
    assert not np.allclose(got, jax.jit(NonLocalBlock().apply)(variables, x))
    with pytest.raises(ValueError, match="kind='cosine'"):
        NonLocalBlock("cosine").init(jax.random.key(0), x)
    with pytest.raises(ValueError, match="no image batch to pool"):
        NonLocalBlock(pool=True).init(jax.random.key(0), x[0])


@pytest.mark.covers("AT-29")
def test_sagan_attention_starts_as_the_identity_and_then_is_its_formula():
    x, layer = normal(0, 2, 3, 4, 16), SAGANAttention()
    out, variables = build(layer, x)
    np.testing.assert_array_equal(out, x)
    params = dict(variables["params"])
    chex.assert_shape(params.pop("gamma"), ())
    assert jax.tree.map(jnp.shape, params) == {n: {"kernel": (16, 2)} for n in "fgh"} | {"v": {"kernel": (2, 16)}}
    f, g, h = (np.asarray(x.reshape(2, 12, 16) @ params[n]["kernel"], np.float64) for n in "fgh")
    s = np.exp(np.einsum("bic,bjc->bij", f, g))  # s_ij = f(x_i) . g(x_j)
    beta = s / s.sum(1, keepdims=True)  # over i, for the location j
    o = np.einsum("bij,bic->bjc", beta, h) @ np.asarray(params["v"]["kernel"], np.float64)
    got = jax.jit(layer.apply)({"params": {**params, "gamma": jnp.float32(0.7)}}, x)
    np.testing.assert_allclose(got.reshape(2, 12, 16), x.reshape(2, 12, 16) + 0.7 * o, atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("AT-27")
def test_a_window_over_the_whole_image_is_global_attention():
    x, layer = normal(0, 2, 3, 4, 8), LocalAttention(2, window=7, relative_bias=False)
    variables, got = filled(layer, x)
    want = jax.jit(MultiHeadAttention(2).apply)(variables, x.reshape(2, 12, 8))
    np.testing.assert_allclose(got.reshape(2, 12, 8), want, atol=1e-5)
    smaller = jax.jit(LocalAttention(2, window=3, relative_bias=False).apply)(variables, x)
    assert not np.allclose(smaller, got, atol=1e-3)


@pytest.mark.slow
@pytest.mark.covers("AT-27")
def test_local_attention_is_attention_over_each_neighborhood():
    """Pixel by pixel: those of the 3 x 3 around it that exist, with the bias of their offset."""
    x, layer = normal(0, 1, 3, 4, 6), LocalAttention(2, window=3)
    variables, got = filled(layer, x)
    p = variables["params"]
    chex.assert_shape(p["relative_position_bias"], (2, 9))
    q, k, v = (np.asarray(x[0] @ p[n]["kernel"] + p[n]["bias"]).reshape(3, 4, 2, 3) for n in ("query", "key", "value"))
    y = np.zeros((3, 4, 2, 3))
    for r, c, head in np.ndindex(3, 4, 2):
        near = [(i, j) for i, j in np.ndindex(3, 4) if abs(i - r) < 2 and abs(j - c) < 2]
        e = [
            q[r, c, head] @ k[i, j, head] / np.sqrt(3) + p["relative_position_bias"][head, 3 * (i - r + 1) + j - c + 1]
            for i, j in near
        ]
        w = np.exp(e) / np.exp(e).sum()
        y[r, c, head] = sum(w[n] * v[i, j, head] for n, (i, j) in enumerate(near))
    want = y.reshape(3, 4, 6) @ p["proj"]["kernel"] + p["proj"]["bias"]
    np.testing.assert_allclose(got[0], want, atol=1e-5)


@pytest.mark.covers("AT-27")
def test_a_far_pixel_changes_nothing():
    x, layer = normal(0, 1, 7, 7, 4), LocalAttention(1, window=3)
    _, variables = build(layer, x)
    slope = jax.jit(jax.grad(lambda x: layer.apply(variables, x)[0, 3, 3].sum()))(x)
    seen = np.zeros((7, 7), bool)
    seen[2:5, 2:5] = True
    np.testing.assert_array_equal(np.abs(slope[0]).sum(-1) > 0, seen)
    with pytest.raises(ValueError, match="window=4"):
        LocalAttention(1, window=4).init(jax.random.key(0), x)


@pytest.mark.covers("AT-28")
def test_a_transformer_on_pixels_holds_the_square_of_their_number():
    """An 8 x 8 image as 64 tokens: the map of weights has (8^2)^2 = 4,096 numbers a head; at R = 128, R^4 = 2^28."""
    pixels, block = normal(0, 2, 8, 8, 4).reshape(2, 64, 4), TransformerEncoderBlock(2, 8, pre_norm=True)
    _, variables = build(block, pixels)
    out, state = jax.jit(lambda x: block.apply(variables, x, mutable=["intermediates"]))(pixels)
    chex.assert_shape(out, (2, 64, 4))
    assert np.isfinite(out).all()
    weights = state["intermediates"]["attn"]["weights"][0]
    chex.assert_shape(weights, (2, 2, 64, 64))
    assert weights[0, 0].size == 4_096 == (8 * 8) ** 2
    image = jax.ShapeDtypeStruct((1, 128**2, 4), jnp.float32)
    large = jax.eval_shape(lambda x: block.apply(variables, x, mutable=["intermediates"]), image)[1]
    large = large["intermediates"]["attn"]["weights"][0]
    assert large.shape[-1] * large.shape[-2] == 268_435_456
    assert large.shape[-1] * large.shape[-2] * large.dtype.itemsize == 2**30
