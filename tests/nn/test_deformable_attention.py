"""Deformable attention: where it looks, at first and later, points beside boxes as references, and its encoder."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.nn import DeformableAttention
from dlcore.nn.deformable_attention import star_offsets
from dlcore.nn.deformable_encoder import DeformableEncoderLayer, flatten_maps, grid_centers
from tests.random_weights import random_like


def test_points_lie_on_a_star_at_first():
    """Four heads: right, down, left, up; the second point twice as far."""
    star = star_offsets(4, (2, 1))
    np.testing.assert_allclose(star[0], [[1, 0], [2, 0], [1, 0]], atol=1e-6)
    np.testing.assert_allclose(star[:, 0], [[1, 0], [0, 1], [-1, 0], [0, -1]], atol=1e-6)


def test_a_box_of_the_right_size_is_a_point():
    """An offset of a level of K points reaches K pixels, and half of a box of two pixels by K: equal for K = 1."""
    layer = DeformableAttention(2, (1, 1))
    key, shapes = jax.random.key(0), ((4, 4), (4, 4))
    query, value = jax.random.normal(key, (1, 3, 4)), jax.random.normal(key, (1, 32, 4))
    center = jnp.full((1, 3, 1, 2), 0.4)
    box = jnp.concatenate([center, jnp.full_like(center, 2 / 4)], -1)
    hidden = jnp.zeros((1, 32), bool)

    @jax.jit
    def run():
        variables = layer.init(key, query, center, value, shapes)
        inputs = ((center,), (box,), (center, hidden))
        return variables, [layer.apply(variables, query, x, value, shapes, *mask) for x, *mask in inputs]

    variables, (by_point, by_box, unseen) = run()
    params = variables["params"]
    np.testing.assert_array_equal(params["sampling_offsets"]["bias"], star_offsets(2, (1, 1)).reshape(-1))
    for name in ("sampling_offsets", "attention_weights"):
        assert not params[name]["kernel"].any()
    chex.assert_trees_all_close(by_point, by_box, atol=1e-6)
    assert (unseen == params["output_proj"]["bias"]).all()


def test_bad_heads_and_references_are_named():
    query, value = jnp.zeros((1, 3, 4)), jnp.zeros((1, 4, 4))
    with pytest.raises(ValueError, match="num_heads=3: not a divisor; allowed: divisors of the 4 features"):
        DeformableAttention(3).init(jax.random.key(0), query, jnp.zeros((1, 3, 1, 2)), value, ((2, 2),))


def test_points_weights_and_values_are_those_of_the_formula(monkeypatch):
    """Two heads, and one and two points on maps of 2 x 3 and 1 x 2 pixels; attention itself is a stand-in.

    It gives the first two values, so that the output is the last layer of them.
    """

    def attend(value, shapes, locations, weights, counts, method):
        seen.append((value, locations, weights))
        settings.append((shapes, counts, method))
        return value[:, :2]

    monkeypatch.setattr("dlcore.nn.deformable_attention.deformable_attention", attend)
    seen, settings, shapes, rng = [], [], ((2, 3), (1, 2)), np.random.default_rng(0)
    query, value, point, boxes = (rng.random(size) for size in ((1, 2, 4), (1, 8, 4), (1, 2, 1, 2), (1, 2, 2, 4)))
    mask = np.arange(8)[None] != 1
    widths = {"sampling_offsets": 12, "attention_weights": 6, "value_proj": 4, "output_proj": 4}
    params = {name: {"kernel": rng.normal(size=(4, n)), "bias": rng.normal(size=n)} for name, n in widths.items()}
    plain = {name: params[name] for name in ("sampling_offsets", "attention_weights")}
    whole, bare = DeformableAttention(2, (1, 2)), DeformableAttention(2, (1, 2), 0.25, "discrete", False)

    @jax.jit
    def run():
        one = whole.apply({"params": params}, query, point, value, shapes, mask)
        two = bare.apply({"params": plain}, query, boxes, value, shapes)
        return one, two, *seen

    one, two, by_point, by_box = run()
    # Settings of every call, then every linear layer by numpy.
    assert settings == [(shapes, (1, 2), "bilinear"), (shapes, (1, 2), "discrete")]
    offsets, logits, projected = (
        x @ params[name]["kernel"] + params[name]["bias"]
        for name, x in (("sampling_offsets", query), ("attention_weights", query), ("value_proj", value))
    )
    offsets, shares = offsets.reshape(1, 2, 2, 3, 2), np.exp(logits.reshape(1, 2, 2, 3))
    shares /= shares.sum(-1, keepdims=True)
    projected = np.where(mask[..., None], projected, 0)
    sides = np.array([[3, 2], [2, 1], [2, 1]])
    places = [point[:, :, None] + offsets / sides]
    corner, size = np.split(boxes[:, :, None, [0, 1, 1]], 2, -1)
    places.append(corner + offsets * 0.25 / np.array([[1], [2], [2]]) * size)
    for found, values, place in ((by_point, projected, places[0]), (by_box, value, places[1])):
        expected = (values.reshape(1, 8, 2, 2), place, shares)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)
    out = projected[:, :2] @ params["output_proj"]["kernel"] + params["output_proj"]["bias"]
    np.testing.assert_allclose(one, out, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(two, value[:, :2], rtol=1e-6)


def test_four_points_of_a_level_by_default():
    """Two heads, two levels, four points of two numbers: 32 offsets and 16 weights."""
    init = DeformableAttention(2).init
    arguments = jnp.zeros((1, 3, 4)), jnp.zeros((1, 3, 1, 2)), jnp.zeros((1, 4, 4))
    shapes = jax.eval_shape(lambda: init(jax.random.key(0), *arguments, ((1, 2), (2, 1))))["params"]
    chex.assert_shape(shapes["sampling_offsets"]["kernel"], (4, 32))
    chex.assert_shape(shapes["attention_weights"]["kernel"], (4, 16))


def test_maps_are_joined_row_by_row_and_so_are_their_centers():
    """Pixels of a row of two have their centers at 1/4 and 3/4."""
    first, second = jnp.arange(4.0).reshape(1, 2, 2, 1), 10 + jnp.arange(2.0).reshape(1, 1, 2, 1)
    joined, shapes = flatten_maps([first, second])
    np.testing.assert_array_equal(joined[0, :, 0], [0, 1, 2, 3, 10, 11])
    assert shapes == ((2, 2), (1, 2))
    upper, lower = [[0.25, 0.25], [0.75, 0.25]], [[0.25, 0.75], [0.75, 0.75]]
    np.testing.assert_array_equal(grid_centers(shapes), [*upper, *lower, [0.25, 0.5], [0.75, 0.5]])


def test_an_encoder_layer_asks_with_positions_and_reads_without(monkeypatch):
    """LN(x + a), LN(x + MLP(x)); the stand-in of attention gives what asks plus twice the values, the mask's twofold.

    A dropout of all leaves LN(LN(x)) in training.
    """
    built = []

    class Attend(nn.Module):
        num_heads: int
        num_points: int
        dtype: object = None

        def __call__(self, query, reference, value, shapes, mask):
            built.append((self.name, self.num_heads, self.num_points, reference, shapes))
            return (query + 2 * value) * (1 if mask is None else mask[..., None] + 1.0)

    monkeypatch.setattr("dlcore.nn.deformable_encoder.DeformableAttention", Attend)
    layer, rng = DeformableEncoderLayer(2, 5, 3, dropout_rate=1.0), np.random.default_rng(0)
    x, position = rng.normal(size=(1, 3, 4)), rng.normal(size=(1, 3, 4))
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x, position, None, None)["params"]
    params, mask = random_like(shapes, 1.0), np.array([[True, False, True]])

    @jax.jit
    def run():
        key = {"dropout": jax.random.key(0)}
        calm = layer.apply({"params": params}, x, position, "reference", "shapes", mask)
        return calm, layer.apply({"params": params}, x, position, "reference", "shapes", mask, True, rngs=key)

    calm, dropped = run()
    assert built[1:] == [("self_attn", 2, 3, "reference", "shapes")] * 2

    def norm(z, name):
        z = (z - z.mean(-1, keepdims=True)) / np.sqrt(z.var(-1, keepdims=True) + 1e-5)
        return z * params[name]["scale"] + params[name]["bias"]

    first, second = (params["mlp"][name] for name in ("fc1", "fc2"))
    y = norm(x + (x + position + 2 * x) * (mask[..., None] + 1), "self_attn_layer_norm")
    hidden = np.maximum(y @ first["kernel"] + first["bias"], 0)
    expected = norm(y + hidden @ second["kernel"] + second["bias"], "final_layer_norm")
    np.testing.assert_allclose(calm, expected, rtol=1e-3, atol=1e-4)
    alone = norm(norm(x, "self_attn_layer_norm"), "final_layer_norm")
    np.testing.assert_allclose(dropped, alone, rtol=1e-3, atol=1e-4)
