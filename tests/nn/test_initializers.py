"""Initial weights: their moments and bounds, and what they do to activations and gradients."""

import functools
import math
import re
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.unet import ResidualBlock, SelfAttention
from dlcore.models.resnet_cifar import BasicBlock
from dlcore.nn import Conv, initializers

KEY = jax.random.key(0)


def drawn(init, shape=(512, 400)):
    return np.asarray(init(KEY, shape), np.float64)


def is_uniform(values):
    """All within the bound, and the deviation that of a uniform one, bound / sqrt(3)."""
    bound = np.abs(values).max()
    return values.std() == pytest.approx(bound / math.sqrt(3), rel=5e-3)


def is_gaussian(values):
    """The fourth moment is 3 times the square of the second: 1.8 for a uniform one, 2.4 for one cut at two."""
    return np.mean(values**4) / np.mean(values**2) ** 2 == pytest.approx(3, abs=0.08)


@pytest.mark.parametrize(
    ("init", "std"),
    [
        pytest.param(initializers.normal(), 0.01, marks=pytest.mark.covers("IN-02")),
        pytest.param(initializers.normal(0.05), 0.05, marks=pytest.mark.covers("IN-03")),
        pytest.param(initializers.normal(0.1), 0.1, marks=pytest.mark.covers("IN-04")),
        # 1 / sqrt(512) = 0.0441942
        pytest.param(initializers.xavier_normal(), 0.0441942, marks=pytest.mark.covers("IN-05")),
        # sqrt(2 / 512) = 1 / sqrt(256) = 1 / 16
        pytest.param(initializers.kaiming_normal(), 0.0625, marks=pytest.mark.covers("IN-06")),
        # sqrt(2 / (1 + 0.2^2) / 512) = sqrt(0.00375601)
        pytest.param(initializers.kaiming_normal(slope=0.2), 0.0612863),
        # sqrt(2 / 400), sqrt(2 / 456)
        pytest.param(initializers.kaiming_normal("fan_out"), 0.0707107),
        pytest.param(initializers.kaiming_normal("fan_avg"), 0.0662266),
    ],
)
def test_gaussians(init, std):
    values = drawn(init)
    # the deviation of 204,800 values has an error of 1 / sqrt(409,600) = 0.16 %
    assert values.std() == pytest.approx(std, rel=5e-3)
    assert abs(values.mean()) < 5 * std / math.sqrt(values.size)
    assert is_gaussian(values)


@pytest.mark.parametrize(
    ("init", "bound"),
    [
        pytest.param(initializers.uniform(), 0.2, marks=pytest.mark.covers("IN-04")),
        # sqrt(6 / 512) = 0.1082532; its variance is bound^2 / 3 = 2 / 512
        pytest.param(initializers.kaiming_uniform(), 0.1082532, marks=pytest.mark.covers("IN-07")),
        # sqrt(3 / 512), sqrt(6 / (512 + 400))
        pytest.param(initializers.xavier_uniform(), 0.0765466),
        pytest.param(initializers.xavier_uniform("fan_avg"), 0.0811107),
        # 1 / sqrt(512): not sqrt(6 / 512)
        pytest.param(initializers.torch_default(), 0.0441942, marks=pytest.mark.covers("IN-07")),
    ],
)
def test_uniform_ones(init, bound):
    values = drawn(init)
    assert bound * (1 - 1e-3) < np.abs(values).max() <= bound * (1 + 1e-6)
    assert values.min() < -bound * (1 - 1e-3)
    assert is_uniform(values)
    assert values.var() == pytest.approx(bound**2 / 3, rel=1e-2)


@pytest.mark.covers("IN-06")
def test_kaiming_is_flax_variance_scaling_and_not_its_he_normal():
    both = jax.nn.initializers.variance_scaling(2.0, "fan_in", "normal"), initializers.kaiming_normal()
    want, got = jax.device_get(jax.jit(lambda: [init(KEY, (3, 3, 8, 64)) for init in both])())
    np.testing.assert_array_equal(got, want)
    # randn sqrt(2 / n), not randn / sqrt(2 / n): 0.0625 and not 16 for n = 512
    assert np.abs(got).max() < 1
    # he_normal ends at two deviations before its rescaling: 2 / 0.8796 = 2.274
    cut = np.asarray(jax.jit(lambda: jax.nn.initializers.he_normal()(KEY, (512, 400)))()) / 0.0625
    assert np.abs(cut).max() < 2.28 < np.abs(drawn(initializers.kaiming_normal()) / 0.0625).max()


@pytest.mark.covers("IN-05")
@pytest.mark.parametrize(("groups", "fan"), [(1, 9 * 32), (4, 9 * 8)])
def test_a_convolution_counts_taps_times_channels(groups, fan):
    layer = Conv(256, (3, 3), feature_group_count=groups, kernel_init=initializers.xavier_normal())
    kernel = jax.jit(lambda: layer.init(KEY, jnp.zeros((1, 4, 4, 32))))()["params"]["kernel"]
    assert float(kernel.std()) == pytest.approx(1 / math.sqrt(fan), rel=0.02)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("init", [initializers.normal(), initializers.uniform(), initializers.kaiming_uniform()])
def test_dtypes_and_empty_kernels(init, dtype):
    filled, empty = jax.jit(lambda: (init(KEY, (4, 3), dtype), init(KEY, (0, 3), dtype)))()
    assert filled.dtype == empty.dtype == dtype
    chex.assert_shape([filled, empty], [(4, 3), (0, 3)])


def test_errors():
    with pytest.raises(ValueError, match=r"shape=\(3,\)"):
        initializers.xavier_normal()(KEY, (3,))


def layers(init, activation, width, depth, examples=16):
    """Activations [depth, examples, width] of a net of one width, from standard normal inputs."""

    @jax.jit
    def run(key):
        def layer(h, key):
            h = activation(h @ init(key, (width, width)))
            return h, h

        start = jax.random.normal(jax.random.fold_in(key, 0), (examples, width))
        return jax.lax.scan(layer, start, jax.random.split(key, depth))[1]

    return run(KEY)


@pytest.mark.slow
@pytest.mark.covers("IN-02")
def test_small_weights_fade_geometrically_in_tanh():
    std = np.asarray(layers(initializers.normal(0.01), jnp.tanh, 512, 6).std((1, 2)))
    # far from saturation a layer multiplies by 0.01 sqrt(512) = 0.2263
    np.testing.assert_allclose(std[1:] / std[:-1], 0.2263, rtol=0.05)
    assert std[0] == pytest.approx(0.22, abs=0.02)
    assert std[-1] < 2e-4


@pytest.mark.weekly(unless=["512-0-0.05"])
@pytest.mark.slow(unless=["512-0-0.05"])
@pytest.mark.covers("IN-03")
@pytest.mark.parametrize(("width", "low", "high"), [(512, 0, 0.05), (4096, 0.30, 0.45)])
def test_large_weights_saturate_wide_tanh_layers(width, low, high):
    # a pre-activation has the deviation 0.05 sqrt(width) |h|: 3.2 |h| at 4096, and |tanh| > .99 beyond 2.65
    depth = 6 if width == 512 else 3  # 3 x 4096 x 4096 draws take most of this file's seconds
    activations = np.asarray(layers(initializers.normal(0.05), jnp.tanh, width, depth))
    saturated = (np.abs(activations) > 0.99).mean((1, 2))[-2:]
    assert ((saturated >= low) & (saturated <= high)).all(), saturated
    if width == 4096:
        # tanh' = 1 - tanh^2 < 1 - .99^2 = .0199 there: nothing of the gradient passes these units
        slopes = 1 - activations[-1] ** 2
        assert (slopes < 0.0199).mean() == pytest.approx(saturated[-1], abs=1e-6)
        assert np.median(slopes) < 0.12


@pytest.mark.slow
@pytest.mark.covers("IN-05")
def test_xavier_keeps_tanh_and_loses_relu():
    std = np.asarray(layers(initializers.xavier_normal(), jnp.tanh, 512, 10).std((1, 2)))
    # tanh of a standard normal has the deviation .628; the fall flattens out
    assert std[0] == pytest.approx(0.628, abs=0.01)
    assert std[-1] > 0.2
    assert std[-1] / std[-2] > 0.94
    second = np.square(np.asarray(layers(initializers.xavier_normal(), jax.nn.relu, 512, 10))).mean((1, 2))
    # a ReLU passes half of the second moment: 2^-10 after ten
    assert second[-1] == pytest.approx(2**-10, rel=0.5)


@pytest.mark.slow
@pytest.mark.covers("IN-06")
def test_kaiming_keeps_twenty_relu_layers():
    for init, keeps in ((initializers.kaiming_normal(), True), (initializers.torch_default(), False)):
        second = np.square(np.asarray(layers(init, jax.nn.relu, 512, 20))).mean((1, 2))
        assert (second.min() > 0.4 and second.max() < 2.5) == keeps, second


def perceptron(init, bias=0.0, sizes=(64, 16, 16, 10)):
    keys = jax.random.split(KEY, len(sizes))
    return [(init(k, (m, n)), jnp.full(n, bias)) for k, m, n in zip(keys[1:], sizes[:-1], sizes[1:], strict=True)]


def cross_entropy(params, x, labels, activation=jax.nn.relu):
    for w, b in params[:-1]:
        x = activation(x @ w + b)
    scores = jax.nn.log_softmax(x @ params[-1][0] + params[-1][1])
    return -jnp.take_along_axis(scores, labels[:, None], 1).mean()


@pytest.mark.slow(unless=["tanh"])
@pytest.mark.covers("IN-01")
@pytest.mark.parametrize("activation", [jax.nn.relu, jnp.tanh])
def test_a_constant_start_never_tells_units_apart_and_zero_never_moves(activation):
    x, labels = jax.random.uniform(KEY, (20, 64)), jnp.arange(20) % 10

    @jax.jit
    def descend(params):
        def step(_, params):
            gradient = jax.grad(cross_entropy)(params, x, labels, activation)
            return jax.tree.map(lambda p, g: p - 0.5 * g, params, gradient)

        return jax.lax.fori_loop(0, 10, step, params)

    inits = initializers.constant(0.03), initializers.kaiming_normal(), initializers.zeros
    constant, random, zero = jax.jit(lambda: [perceptron(init) for init in inits])()
    same = descend(constant)
    for w, b in same[:-1]:
        np.testing.assert_allclose(w, np.broadcast_to(w[:, :1], w.shape), atol=1e-6)
        np.testing.assert_allclose(b, np.broadcast_to(b[:1], b.shape), atol=1e-6)
    assert float(jnp.abs(same[0][0] - 0.03).max()) > 1e-4  # it did learn, as one unit a layer
    apart = descend(random)
    assert float(apart[0][0].std(1).min()) > 0.05
    # every class comes twice in 20, so that not even the last bias has a gradient: (p - y) sums to 0
    stuck = jax.jit(jax.grad(cross_entropy), static_argnums=3)(zero, x, labels, activation)
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(stuck)) < 1e-7


@pytest.mark.covers("IN-08")
def test_a_slightly_positive_bias_leaves_fewer_units_dead():
    inits = (initializers.kaiming_normal(), initializers.normal(0.01))
    sizes = (64, *(256,) * 4)
    x, weights = jax.device_get(
        jax.jit(lambda: (jax.random.normal(KEY, (4, 64)), [perceptron(init, 0.0, sizes) for init in inits]))()
    )

    def dead(layers, bias):
        h, fractions = x, []
        for w, _ in layers:
            h = np.maximum(h @ w + bias, 0)
            fractions.append((h == 0).all(0).mean())
        return fractions

    for layers in weights:
        zero, positive = (dead(layers, np.float32(bias)) for bias in (0.0, 0.01))
        # four independent examples miss half of the units each: 2^-4 = 6 % of the first layer, more deeper
        assert zero[0] == pytest.approx(1 / 16, abs=0.04)
        assert positive[0] < zero[0]
        assert sum(positive) < sum(zero)
    assert positive[-1] == 0 < zero[-1]  # where weights are small the bias outweighs them


@pytest.mark.slow
@pytest.mark.covers("IN-09")
def test_a_residual_branch_that_ends_in_zero_is_the_identity_and_its_variance_stays():
    def variances(last, depth=20, width=256):
        def block(x, key):
            first, second = jax.random.split(key)
            inner = jax.nn.relu(x @ initializers.kaiming_normal()(first, (width, width)))
            x = x + inner @ last(second, (width, width))
            return x, x

        x = jax.random.normal(KEY, (32, width))
        return x, jax.jit(lambda x: jax.lax.scan(block, x, jax.random.split(KEY, depth))[1])(x)

    x, outputs = variances(initializers.zeros)
    np.testing.assert_array_equal(outputs, jnp.broadcast_to(x, outputs.shape))
    _, grown = variances(initializers.kaiming_normal())
    # relu(x w1) keeps the second moment, w2 doubles it, and the sum has 1 + 2 = 3 times the variance, each block
    growth = np.asarray(grown.var((1, 2)))
    np.testing.assert_allclose(growth[1:] / growth[:-1], 3, rtol=0.4)
    assert growth[-1] / growth[0] == pytest.approx(3**19, rel=0.9)


def shaped(init, seed=0):
    """NumPy's normal parameters in the shapes of what `init` makes, without compiling it."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), jax.eval_shape(init))


@pytest.mark.covers("IN-10")
def test_a_residual_block_whose_last_scale_is_zero_starts_as_the_identity():
    x = np.maximum(np.random.default_rng(0).normal(size=(3, 4, 4, 4)), 0).astype(np.float32)  # as a block gives it
    blocks = [BasicBlock(4, zero_init_residual=zero) for zero in (False, True)]
    params = shaped(lambda: blocks[0].init(KEY, x, True)["params"])

    @jax.jit
    def norms():  # of the kernels, any values will do
        drawn = [block.init(KEY, x, True)["params"] for block in blocks]
        return [{name: tree[name] for name in ("bn1", "bn2")} for tree in drawn]

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient_and_output(params):
        y, _ = blocks[0].apply({"params": params}, x, True, mutable=["batch_stats"])
        return jnp.square(y - 1).sum(), y

    for zero, drawn in zip((False, True), norms(), strict=True):
        # the last batch norm alone: the first keeps its ones, so that a gradient reaches the last scale
        np.testing.assert_array_equal(drawn["bn1"]["scale"], 1)
        gradient, y = gradient_and_output({**params, **drawn})
        assert bool((y == x).all()) == zero
    assert float(jnp.abs(gradient["bn2"]["scale"]).min()) > 0
    np.testing.assert_array_equal(gradient["conv1"]["kernel"], 0)


@pytest.mark.covers("IN-11")
@pytest.mark.parametrize("kind", ["attention", "residual"])
def test_blocks_whose_last_layer_is_zero_go_into_a_trained_net_unseen(kind):
    x = np.random.default_rng(0).normal(size=(2, 2, 2, 4)).astype(np.float32)
    block = SelfAttention(num_heads=2) if kind == "attention" else ResidualBlock(4)
    inputs = (x,) if kind == "attention" else (x, np.ones((2, 5), np.float32))

    def last(params):
        return params["attention"]["out"] if kind == "attention" else params["conv2"]

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient_and_output(params):
        y = block.apply({"params": params}, *inputs)
        return jnp.square(y - 1).sum(), y

    params = shaped(lambda: block.init(KEY, *inputs)["params"])
    last(params).update(jax.device_get(jax.jit(lambda: last(block.init(KEY, *inputs)["params"]))()))
    gradient, y = gradient_and_output(params)
    np.testing.assert_array_equal(y, x)
    # and they can learn: the last layer has a gradient, what is before it not yet
    assert np.abs(last(gradient)["kernel"]).max() > 0
    _, after = gradient_and_output(
        jax.tree.map(lambda p, g: p - np.float32(0.01) * g, params, jax.device_get(gradient))
    )
    assert np.abs(after - x).max() > 0


@pytest.mark.slow(unless=["shape1"])
@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (3, 3, 2, 8)])
def test_orthogonal_is_that_of_jax(shape):
    modules = initializers, jax.nn.initializers
    ours, theirs = jax.jit(lambda: [module.orthogonal(0.5)(KEY, shape) for module in modules])()
    np.testing.assert_allclose(ours, theirs, atol=2e-6)
    rows = np.asarray(ours).reshape(-1, shape[-1])
    np.testing.assert_allclose(np.linalg.svd(rows, compute_uv=False), 0.5, rtol=1e-5)


def test_no_network_takes_the_initializer_that_can_hang():
    """jax's orthogonal initializer calls LAPACK, which under vmap can wait for its own thread pool forever."""
    root = Path(__file__).resolve().parents[2]
    uses = re.compile(r"(?:nn|jax\.nn|linen)\.initializers\.orthogonal|initializers import [^\n]*\borthogonal")
    ours = "from dlcore.nn.initializers import"
    wrong = [
        f"{path.relative_to(root)}: {line}"
        for folder in ("dlcore", "experiments")
        for path in sorted((root / folder).rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if uses.search(line) and ours not in line and not line.lstrip().startswith(("#", "The values"))
    ]
    assert not wrong
