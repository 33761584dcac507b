"""The space by hand, its cost against `dlcore.cost`, masked children against those built, and the controller."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.classification import factorized_search as space
from dlcore.classification.architecture_search import reinforce_search
from dlcore.cost.layers import layer_costs, total

CHILDREN = [
    (0, 1, 1, 1, 1, 1, 2, 0, 0, 2, 0, 2),
    (1, 0, 1, 2, 2, 2, 0, 0, 1, 1, 2, 0),
    (2, 1, 1, 2, 0, 0, 1, 1, 0, 0, 0, 1),
    (2, 0, 1, 1, 1, 1, 2, 1, 1, 1, 2, 2),
]


@pytest.mark.covers("ZO-23")
def test_an_architecture_is_decoded_choice_by_choice():
    first, second = space.child_blocks(np.array([[0, 1, 0, 2, 0, 2], [2, 0, 1, 1, 2, 0]]))
    assert first == space.BlockChoice("conv", 5, 0.0, "pool", 0.75, 3)
    assert second == space.BlockChoice("inverted", 3, 0.25, "identity", 1.25, 1)
    assert space.choice_counts(2) == (3, 2, 2, 3, 3, 3) * 2


def test_invalid_architectures_are_refused():
    with pytest.raises(ValueError, match="not six choices a block"):
        space.child_blocks(np.zeros(7, int))


def by_loops(child, side, width=8, num_classes=10):
    """Multiply-adds of the layers that are there, one after the other."""
    inputs, cost = width, 9 * width * side**2
    for b, block in enumerate(space.child_blocks(np.array(child))):
        features = round(width * block.width)
        for k in range(block.layers):
            before, side = side, -(-side // 2) if b > 0 and k == 0 else side
            inner = {"conv": features, "separable": inputs, "inverted": 3 * inputs}[block.operation]
            if block.operation == "conv":
                cost += block.kernel_size**2 * inputs * features * side**2
            else:
                cost += (block.kernel_size**2 + features) * inner * side**2
            if block.operation == "inverted":
                cost += inputs * inner * before**2
            if block.se_ratio:
                cost += 2 * inner * max(1, int(block.se_ratio * inputs))
            inputs = features
    return cost + inputs * num_classes


@pytest.mark.covers("ZO-23")
def test_the_cost_is_that_of_loops_over_the_layers():
    costs = jax.jit(jax.vmap(lambda child: space.multiply_adds(child, 5, width=7, num_classes=3)))(jnp.array(CHILDREN))
    np.testing.assert_array_equal(costs, [by_loops(child, 5, 7, 3) for child in CHILDREN])
    # By hand: a stem of 9 x 8 on 16 pixels, 8 -> 10 channels with 25 x 8 + 8 x 10 a pixel and SE of 2 x 2 x 8, then
    # 10 -> 10 with 25 x 10 + 10 x 10 and SE of 2 x 2 x 10; the head has 10 x 10.
    assert by_loops((1, 1, 1, 0, 2, 1), 4) == 72 * 16 + (280 * 16 + 32) + (350 * 16 + 40) + 100


@pytest.mark.covers("ZO-23")
def test_a_masked_layer_is_the_layer_that_is_built():
    """Each operation, kernel and squeeze-and-excitation with 3 of 4 input and 4 of 5 output channels, at stride 2."""
    masked, rng = space.MaskedLayer(5, 2), np.random.default_rng(0)
    x = rng.normal(size=(2, 5, 6, 4)).astype(np.float32) * np.array([1, 1, 1, 0], np.float32)
    blocks = [(0, 3, 0.0), (1, 5, 0.25), (2, 3, 0.25)]

    def described(operation, kernel_size, se_ratio):
        return space.BlockChoice(operation, kernel_size, se_ratio, None, 4, None)

    shapes = jax.eval_shape(lambda: masked.init(jax.random.key(0), x, 3, described(*blocks[0]), False))
    variables = jax.tree.map(lambda a: rng.uniform(0.2, 0.8, a.shape).astype(np.float32) - 0.3, shapes)
    variables["batch_stats"] = jax.tree.map(lambda a: np.abs(a) + 0.5, variables["batch_stats"])
    layers = [space.ChildLayer(space.CHOICES.operation[op], 4, side, se, 2) for op, side, se in blocks]
    parts = [
        cropped(variables, jax.eval_shape(lambda layer=layer: layer.init(jax.random.key(0), x[..., :3], False)))
        for layer in layers
    ]

    @jax.jit
    def run(blocks, parts):
        built = [layer.apply(part, x[..., :3], False) for layer, part in zip(layers, parts, strict=True)]
        return jax.vmap(lambda *b: masked.apply(variables, x, 3, described(*b), False))(*blocks), jnp.stack(built)

    found, built = run([jnp.array(column) for column in zip(*blocks, strict=True)], parts)
    assert built.shape == (3, 2, 3, 3, 4)
    assert np.ptp(built, (1, 2, 3, 4)).min() > 0.1
    np.testing.assert_allclose(found[..., :4], built, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found[..., 4], np.zeros((3, 2, 3, 3)))


@pytest.mark.slow
@pytest.mark.covers("ZO-23")
def test_the_cost_by_hand():
    """Stem 9 x 8 on 16 pixels, and two separable layers with SE.

    The first has 8 -> 10 channels, 25 x 8 + 8 x 10 a pixel, and SE of 2 x 2 x 8. The second has 10 -> 10, 25 x 10 +
    10 x 10 a pixel, and SE of 2 x 2 x 10. The head has 10 x 10.
    """
    cost = space.multiply_adds(jnp.array([1, 1, 1, 0, 2, 1]), 4)
    assert cost == 72 * 16 + (280 * 16 + 32) + (350 * 16 + 40) + 100


@pytest.mark.slow
@pytest.mark.parametrize("child", CHILDREN)
def test_the_cost_is_that_of_the_layers(child):
    net = space.ChildNet(space.child_blocks(np.array(child)))
    counted = total(layer_costs(net, jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32))).macs
    assert space.multiply_adds(jnp.array(child), 8) == counted


def cropped(large, small):
    """Take the leading channels of each array, and the center of a kernel."""

    def crop(whole, part):
        if whole.ndim == 4 and whole.shape[0] != part.shape[0]:
            whole = whole[1:-1, 1:-1]
        return whole[tuple(slice(n) for n in part.shape)]

    return {k: cropped(large[k], v) if isinstance(v, dict) else crop(large[k], v) for k, v in small.items()}


@pytest.fixture(scope="module")
def masked():
    """The largest network with random parameters and statistics, and its logits, loss and updated statistics."""
    net, x = space.MaskedNet(num_classes=3), jax.random.normal(jax.random.key(0), (4, 6, 6, 1))
    shapes = jax.eval_shape(net.init, jax.random.key(1), x, jnp.array(CHILDREN[0]))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda a: jnp.asarray(rng.uniform(0.2, 0.8, a.shape) - 0.3, jnp.float32), shapes)
    variables["batch_stats"] = jax.tree.map(lambda a: jnp.abs(a) + 0.5, variables["batch_stats"])
    apply = jax.jit(lambda v, a: (net.apply(v, x, a), net.apply(v, x, a, True, mutable=["batch_stats"])[0]))
    return x, variables, apply


@pytest.mark.slow
@pytest.mark.weekly(unless=["child1"])
@pytest.mark.covers("ZO-23")
@pytest.mark.parametrize("child", CHILDREN)
def test_a_masked_child_is_the_child_that_is_built(masked, child):
    x, variables, apply = masked
    net = space.ChildNet(space.child_blocks(np.array(child)), num_classes=3)
    shapes = jax.eval_shape(net.init, jax.random.key(1), x)
    own = cropped(variables, shapes)
    evaluated, trained = apply(variables, jnp.array(child))
    np.testing.assert_allclose(evaluated, net.apply(own, x), rtol=1e-4, atol=1e-4)
    want, _ = jax.jit(lambda v: net.apply(v, x, True, mutable=["batch_stats"]))(own)
    assert np.ptp(want, 0).max() > 1e-3
    np.testing.assert_allclose(trained, want, rtol=1e-3, atol=1e-3)


@pytest.mark.covers("ZO-23")
def test_every_choice_is_a_distribution_over_its_own_options():
    controller = space.FactorizedController((3, 2))
    logits = jnp.array([[0.0, np.log(2), np.log(5)], [np.log(3), 0, 9]])
    probabilities = np.exp(controller.apply({"params": {"logits": logits}}, jnp.zeros(2, jnp.int32)))
    np.testing.assert_allclose(probabilities, [[1 / 8, 2 / 8, 5 / 8], [3 / 4, 1 / 4, 0]], atol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("ZO-23")
def test_an_update_of_the_controller_by_hand(monkeypatch):
    """Adam is gradient descent of rate 1 here, and draws are those of the first update, all options as likely.

    A draw k of n options moves the logits by the mean of A (1[j = k] - 1 / n) over the children; the entropy is at its
    maximum, with no gradient. Rewards 0 and 1 among the draws have A = (R - mean) / deviation.
    """
    ends = []
    monkeypatch.setattr(optax, "adam", optax.sgd)
    monkeypatch.setattr(
        "dlcore.classification.architecture_search.most_likely",
        lambda controller, params, length: ends.append(params) or jnp.zeros(length, jnp.int32),
    )
    reward = lambda key, a: (a[0] == 1).astype(jnp.float32)  # noqa: E731
    controller = space.FactorizedController((3, 2))
    search = reinforce_search(
        jax.random.key(0), reward, updates=1, children=8, learning_rate=1.0, controller=controller, length=2
    )
    architectures, rewards = np.asarray(search.architectures), np.asarray(search.rewards)
    np.testing.assert_array_equal(rewards, architectures[:, 0] == 1)
    assert 0 < rewards.mean() < 1
    assert set(architectures[:, 1]) == {0, 1}
    advantages = (rewards - rewards.mean()) / rewards.std()
    want = np.zeros((2, 3))
    for a, advantage in zip(architectures, advantages, strict=True):
        want[0] += advantage * (np.eye(3)[a[0]] - 1 / 3) / 8
        want[1, :2] += advantage * (np.eye(2)[a[1]] - 1 / 2) / 8
    np.testing.assert_allclose(ends[0]["logits"], want, atol=1e-5)


def sums_in_place_of_layers(call, args, kwargs, context):
    """Layers give the sum of the channels that are there to each of their own, at their stride."""
    layer = context.module
    if context.method_name != "__call__" or not isinstance(layer, space.ChildLayer | space.MaskedLayer):
        return call(*args, **kwargs)
    x = args[0][:, :: layer.stride, :: layer.stride].sum(-1, keepdims=True)
    kept = (
        jnp.arange(layer.features) < args[2].width if isinstance(layer, space.MaskedLayer) else jnp.ones(layer.features)
    )
    return x * kept


@pytest.mark.covers("ZO-23")
def test_layers_follow_each_other_with_their_shortcuts_in_children_and_masked_nets():
    """With sums in place of layers, and stems and heads of one pixel; of 6 channels at most 8 are there."""
    children = [(0, 0, 0, 1, 1, 1, 0, 0, 0, 2, 2, 1), (0, 0, 0, 2, 0, 2, 0, 0, 0, 1, 1, 2)]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 4, 6, 1)).astype(np.float32)
    kernel = np.zeros((3, 3, 1, 8), np.float32)
    stem, bias, head, shift = (rng.normal(size=size).astype(np.float32) for size in (8, 8, (8, 3), 3))
    kernel[1, 1, 0] = stem
    params = {"stem": {"kernel": kernel, "bias": bias}, "head": {"kernel": head, "bias": shift}}

    @jax.jit
    def run(params):
        with nn.intercept_methods(sums_in_place_of_layers):
            net = space.MaskedNet(3, 6)
            masked = jax.vmap(lambda child: net.apply({"params": params}, x, child))(jnp.array(children))
            built = []
            for child in children:
                own = space.ChildNet(space.child_blocks(np.array(child)), 3, 6)
                shapes = jax.eval_shape(own.init, jax.random.key(0), x)
                built.append(own.apply(cropped({"params": params}, shapes), x))
        return masked, jnp.stack(built)

    def by_loops(child):
        y = x * stem[:6] + bias[:6]
        for b, block in enumerate(space.child_blocks(np.array(child))):
            for k in range(block.layers):
                before, stride = y, 2 if b > 0 and k == 0 else 1
                y = y[:, ::stride, ::stride].sum(-1, keepdims=True) * np.ones(round(6 * block.width))
                if stride == 1 and before.shape == y.shape and block.skip == "identity":
                    y = y + before
                if stride == 1 and before.shape == y.shape and block.skip == "pool":
                    height, width = before.shape[1:3]
                    padded = np.pad(before, ((0, 0), (1, 1), (1, 1), (0, 0)))
                    y = y + sum(padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)) / 9
        return y.mean((1, 2)) @ head[: y.shape[-1]] + shift

    masked, built = run(params)
    expected = [by_loops(child) for child in children]
    np.testing.assert_allclose(built, expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(masked, expected, rtol=1e-3, atol=1e-3)


def test_a_layer_has_at_least_one_channel():
    """3/4 of one channel is rounded to one; 1/100 would be none, and one is left."""
    child = space.child_blocks(np.array([0, 0, 0, 0, 0, 0]))
    for ratio in (0.75, 0.01):
        net = space.ChildNet((child[0]._replace(width=ratio),), width=1)
        shapes = jax.eval_shape(net.init, jax.random.key(0), np.zeros((1, 4, 4, 1), np.float32))["params"]
        chex.assert_shape(shapes["head"]["kernel"], (1, 10))
