"""Rollout by hand, the weights of a ViT and of a decoder by recomputation, and what is refused."""

from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.interpretability import attention_maps
from dlcore.models.gpt2 import GPT2
from dlcore.models.vit import ViT
from tests.random_weights import random_like

VIT = ViT(num_classes=3, image_size=8, patch_size=4, depth=1, width=8, num_heads=2, mlp_features=8)


@pytest.mark.covers("AT-33")
def test_rollout_of_two_layers_by_hand():
    """One head: A = (W + I) / 2, the last layer first; for W1 = [[0, 1], [0, 1]] and W2 = [[1, 0], [1, 0]]

    A1 = [[.5, .5], [0, 1]], A2 = [[1, 0], [.5, .5]], A2 A1 = [[.5, .5], [.25, .75]].
    """
    first, second = (jnp.array(w, jnp.float32)[None, None] for w in ([[0, 1], [0, 1]], [[1, 0], [1, 0]]))
    rollout = attention_maps.attention_rollout([first, second])
    np.testing.assert_allclose(rollout[0], [[0.5, 0.5], [0.25, 0.75]])
    # Two heads count as their mean: (W1 + W2) / 2 = .5 everywhere, so that A = [[.75, .25], [.25, .75]].
    both = attention_maps.attention_rollout([jnp.concatenate([first, second], 1)])
    np.testing.assert_allclose(both[0], [[0.75, 0.25], [0.25, 0.75]])


@pytest.mark.covers("AT-33")
def test_the_weights_of_a_vit_are_those_of_its_queries_and_keys():
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)

    variables = random_like(jax.eval_shape(VIT.init, jax.random.key(0), x), 0.5)
    weights = jax.jit(lambda v: attention_maps.attention_weights_of(VIT, v, x))(variables)
    assert list(weights) == ["blocks_0/attn"]
    chex.assert_shape(weights["blocks_0/attn"], (2, 2, 5, 5))  # a class token and 2 x 2 patches
    p = variables["params"]
    patches = x.reshape(2, 2, 4, 2, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, 4, 48)
    tokens = patches @ p["patch_embed"]["kernel"].reshape(48, 8) + p["patch_embed"]["bias"]
    tokens = np.concatenate([np.broadcast_to(p["cls_token"], (2, 1, 8)), tokens], 1) + p["pos_embed"]["embedding"]
    norm, attn = p["blocks_0"]["norm1"], p["blocks_0"]["attn"]
    h = (tokens - tokens.mean(-1, keepdims=True)) / np.sqrt(tokens.var(-1, keepdims=True) + 1e-6)
    qkv = (h * norm["scale"] + norm["bias"]) @ attn["qkv"]["kernel"].reshape(8, 24) + attn["qkv"]["bias"].reshape(24)
    q, k = (qkv[..., i * 8 : i * 8 + 8].reshape(2, 5, 2, 4).transpose(0, 2, 1, 3) for i in range(2))
    scores = np.exp(q @ k.transpose(0, 1, 3, 2) / 2)  # sqrt(4)
    np.testing.assert_allclose(weights["blocks_0/attn"], scores / scores.sum(-1, keepdims=True), atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("AT-33")
def test_the_rollout_of_a_decoder_looks_back_only():
    model = GPT2(7, 6, num_layers=2, num_heads=2, width=8)
    tokens = np.array([[1, 2, 3, 4, 5]])
    variables = random_like(jax.eval_shape(model.init, jax.random.key(0), tokens), 0.5)

    @jax.jit
    def rollout_of(variables):
        weights = attention_maps.attention_weights_of(model, variables, tokens)
        return attention_maps.attention_rollout(list(weights.values()))

    rollout = np.asarray(rollout_of(variables))
    np.testing.assert_allclose(rollout.sum(-1), 1, rtol=1e-5)
    assert np.abs(np.triu(rollout[0], 1)).max() == 0
    assert np.tril(rollout[0]).min() >= 0


def test_layers_are_in_the_order_of_their_numbers_and_close_names_are_named():
    class Numbered(nn.Module):
        @nn.compact
        def __call__(self, x):
            for i in range(11):
                Layer(name=f"blocks_{i}")(x)

    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.sow("intermediates", "weights", x)

    weights = attention_maps.attention_weights_of(Numbered(), {}, jnp.ones((1, 1, 2, 2)))
    assert list(weights) == [f"blocks_{i}" for i in range(11)]
    assert attention_maps.layer_weights(weights, "blocks_10") is weights["blocks_10"]
    inner = {"a/attn": 1, "b/attn": 2}
    assert [attention_maps.layer_weights(inner, layer) for layer in ("b/attn", "a")] == [2, 1]
    with pytest.raises(
        ValueError, match="layer='attn': names several layers; allowed: one of 2, such as a/attn, b/attn"
    ):
        attention_maps.layer_weights(inner, "attn")
    with pytest.raises(ValueError, match=r"layer='block_3': no such layer; allowed: one of 11, such as .*blocks_3"):
        attention_maps.layer_weights(weights, "block_3")
    with pytest.raises(ValueError, match="model=Dense: no layer sows attention weights"):
        attention_maps.attention_weights_of(
            nn.Dense(1), nn.Dense(1).init(jax.random.key(0), jnp.ones((1, 1))), jnp.ones((1, 1))
        )


def test_a_map_is_a_row_without_the_leading_tokens():
    rows = jnp.arange(25.0).reshape(1, 5, 5)
    np.testing.assert_array_equal(attention_maps.token_map(rows, (2, 2))[0], [[1, 2], [3, 4]])
    # Without a class token: the mean of rows 1 to 4 is 10 + 5 / 2 above row 0.
    np.testing.assert_array_equal(attention_maps.token_map(rows, (2, 2), None)[0], [[13.5, 14.5], [15.5, 16.5]])
    with pytest.raises(ValueError, match=r"grid=\(3, 2\): more patches than the 5 tokens"):
        attention_maps.token_map(rows, (3, 2))
    with pytest.raises(ValueError, match="query=5: no such token; allowed: 0 to 4"):
        attention_maps.token_map(rows, (2, 2), 5)
    for shapes in ([(1, 1, 2, 3)], [], [(1, 2, 2)], [(1, 1, 2, 2), (1, 1, 3, 3)], [(1, 1, 2, 2), (1, 1, 2, 3)]):
        with pytest.raises(ValueError, match="not of one sequence; allowed: self-attention"):
            attention_maps.attention_rollout([np.ones(shape) for shape in shapes])


class Looking:
    """A detector of two classes, no object as the third, whose two queries look at a grid of 2 x 3 with two heads."""

    decoder_layers, stage = 2, "c5"

    def apply(self, variables, images, size=None, *, method=None, mutable=None):
        if method is not None:
            backbone = SimpleNamespace(features=lambda x: {"c4": x, "c5": jnp.zeros((1, 2, 3, 7))})
            return method(SimpleNamespace(backbone=backbone), images)
        last = jnp.log(jnp.array([[0.2, 0.3, 0.5], [0.6, 0.1, 0.3]]))
        sown = {f"decoder_{k}": {"cross_attn": {"weights": (weights,)}} for k, weights in enumerate(variables)}
        return (SimpleNamespace(logits=jnp.stack([0 * last, last])[None]), None), {"intermediates": sown}


def test_a_query_looks_where_the_heads_of_the_last_layer_do_on_average():
    """The best classes beside no object are 1 with .3 and 0 with .6."""
    weights = np.random.default_rng(0).random((2, 1, 2, 2, 6)).astype(np.float32)  # layers, B, heads, queries, tokens
    images = jnp.zeros((1, 8, 12, 3))
    scores, labels, maps = attention_maps.query_attention_maps(Looking(), weights, images)
    np.testing.assert_allclose(scores, [[0.3, 0.6]], rtol=1e-5)
    assert labels.tolist() == [[1, 0]]
    expected = (weights[1, :, 0] + weights[1, :, 1]) / 2
    np.testing.assert_allclose(maps, expected.reshape(1, 2, 2, 3), rtol=1e-6)
