"""Layers by hand: forward and backward against jax, and by finite differences."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.backprop import layers, numerical_gradient, relative_error
from dlcore.losses import multiclass_hinge_loss
from dlcore.ops import avg_pool, conv_general_dilated, max_pool


def array(*shape, seed=0):
    """Distinct numbers, none within .01 of another or of 0: differences never cross a kink."""
    rng = np.random.default_rng(seed)
    values = (np.arange(np.prod(shape)) + 0.5) * 0.05
    return (rng.permutation(values) * rng.choice([-1, 1], len(values))).reshape(shape)


def normalized(x, gamma, beta, axes):
    return gamma * (x - x.mean(axes, keepdims=True)) / jnp.sqrt(x.var(axes, keepdims=True) + 1e-5) + beta


def convolution(stride, pad):
    def conv(x, w, b):
        return (
            conv_general_dilated(x, w, (stride, stride), [(pad, pad)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC"))
            + b
        )

    return conv


IMAGE = (2, 5, 6, 2)
CASES = {
    "affine": (
        layers.affine_forward,
        layers.affine_backward,
        lambda x, w, b: x.reshape(2, -1) @ w + b,
        [(2, 3, 2), (6, 4), (4,)],
    ),
    "relu": (layers.relu_forward, layers.relu_backward, jax.nn.relu, [(3, 4)]),
    "sigmoid": (layers.sigmoid_forward, layers.sigmoid_backward, jax.nn.sigmoid, [(3, 4)]),
    "conv": (layers.conv_forward, layers.conv_backward, convolution(1, 0), [IMAGE, (3, 2, 2, 3), (3,)]),
    "conv_strided_padded": (
        lambda x, w, b: layers.conv_forward(x, w, b, stride=2, pad=1),
        layers.conv_backward,
        convolution(2, 1),
        [IMAGE, (3, 3, 2, 3), (3,)],
    ),
    "max_pool": (layers.max_pool_forward, layers.max_pool_backward, lambda x: max_pool(x, (2, 2), (2, 2)), [IMAGE]),
    "max_pool_overlapping": (
        lambda x: layers.max_pool_forward(x, 3, 1),
        layers.max_pool_backward,
        lambda x: max_pool(x, (3, 3), (1, 1)),
        [IMAGE],
    ),
    "avg_pool": (
        lambda x: layers.avg_pool_forward(x, 3, 2),
        layers.avg_pool_backward,
        lambda x: avg_pool(x, (3, 3), (2, 2)),
        [IMAGE],
    ),
    "batch_norm": (
        layers.batch_norm_forward,
        layers.batch_norm_backward,
        lambda x, g, b: normalized(x, g, b, (0,)),
        [(5, 3), (3,), (3,)],
    ),
    "batch_norm_images": (
        layers.batch_norm_forward,
        layers.batch_norm_backward,
        lambda x, g, b: normalized(x, g, b, (0, 1, 2)),
        [IMAGE, (2,), (2,)],
    ),
    "layer_norm": (
        layers.layer_norm_forward,
        layers.layer_norm_backward,
        lambda x, g, b: normalized(x, g, b, (-1,)),
        [(4, 3), (3,), (3,)],
    ),
    "softmax": (layers.softmax_forward, layers.softmax_backward, jax.nn.softmax, [(3, 4)]),
    "dropout": (
        lambda x: layers.dropout_forward(x, 0.3, np.random.default_rng(7)),
        layers.dropout_backward,
        lambda x: jnp.where(np.random.default_rng(7).random((4, 5)) >= 0.3, x / 0.7, 0),
        [(4, 5)],
    ),
}


def windows(x, size, stride, pad=0):
    """Rows and columns of windows (r, c, [N, size, size, C]) one after the other."""
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    rows, columns = ((x.shape[axis] - size[axis - 1]) // stride + 1 for axis in (1, 2))
    for r, c in np.ndindex(rows, columns):
        yield r, c, x[:, r * stride : r * stride + size[0], c * stride : c * stride + size[1]]


def by_windows(x, size, stride, pad, function):
    parts = {(r, c): function(part) for r, c, part in windows(x, size, stride, pad)}
    rows, columns = (max(places) + 1 for places in zip(*parts, strict=True))
    return np.array([[parts[r, c] for c in range(columns)] for r in range(rows)]).transpose(2, 0, 1, 3)


def plain_conv(stride, pad):
    return lambda x, w, b: by_windows(x, w.shape[:2], stride, pad, lambda p: np.einsum("nijc,ijco->no", p, w) + b)


def plain_norm(axes):
    def normalize(x, gamma, beta):
        return gamma * (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5) + beta

    return normalize


PLAIN = {
    "affine": lambda x, w, b: np.array([[row.ravel() @ w[:, m] + b[m] for m in range(4)] for row in x]),
    "relu": lambda x: np.where(x > 0, x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "conv": plain_conv(1, 0),
    "conv_strided_padded": plain_conv(2, 1),
    "max_pool": lambda x: by_windows(x, (2, 2), 2, 0, lambda p: p.max((1, 2))),
    "max_pool_overlapping": lambda x: by_windows(x, (3, 3), 1, 0, lambda p: p.max((1, 2))),
    "avg_pool": lambda x: by_windows(x, (3, 3), 2, 0, lambda p: p.mean((1, 2))),
    "batch_norm": plain_norm((0,)),
    "batch_norm_images": plain_norm((0, 1, 2)),
    "layer_norm": plain_norm((-1,)),
    "softmax": lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True),
    "dropout": lambda x: np.where(np.random.default_rng(7).random((4, 5)) >= 0.3, x / 0.7, 0),
}


@pytest.mark.covers("BP-09")
@pytest.mark.parametrize("name", CASES)
def test_forward_is_that_of_loops_and_backward_the_measured_slopes(name):
    ours, back, _, shapes = CASES[name]
    inputs = [array(*shape, seed=i) for i, shape in enumerate(shapes)]
    y, cache = ours(*inputs)
    np.testing.assert_allclose(y, PLAIN[name](*inputs), rtol=1e-9, atol=1e-12)
    dy = array(*y.shape, seed=9) * 0.3
    got = back(dy, cache)
    for i, (x, gradient) in enumerate(zip(inputs, got if isinstance(got, tuple) else (got,), strict=True)):
        chex.assert_equal_shape([gradient, x])
        measured = numerical_gradient(lambda x, i=i: (ours(*inputs[:i], x, *inputs[i + 1 :])[0] * dy).sum(), x)
        assert relative_error(gradient, measured) < 1e-5


@pytest.mark.covers("BP-09")
def test_the_losses_by_hand_and_their_slopes():
    """Cross-entropy and hinge, means over four examples of three classes; the margin is 1, or as asked."""
    scores, label, rows = array(4, 3), np.array([0, 2, 1, 2]), np.arange(4)
    own = scores[rows, label]
    hinges = {m: np.maximum(scores - own[:, None] + m, 0).sum(1) - m for m in (1.0, 0.3)}
    cross_entropy = np.log(np.exp(scores).sum(1)) - own
    for loss, expected in (
        (layers.softmax_loss, cross_entropy),
        (layers.svm_loss, hinges[1.0]),
        (lambda s, y: layers.svm_loss(s, y, 0.3), hinges[0.3]),
    ):
        value, gradient = loss(scores, label)
        assert value == pytest.approx(expected.mean(), rel=1e-9)
        assert relative_error(gradient, numerical_gradient(lambda s, f=loss: f(s, label)[0], scores)) < 1e-6


@pytest.mark.slow
@pytest.mark.covers("BP-09")
@pytest.mark.parametrize("name", CASES)
def test_forward_and_backward_are_jaxs_and_the_measured_slopes(name):
    ours, back, theirs, shapes = CASES[name]
    inputs = [array(*shape, seed=i) for i, shape in enumerate(shapes)]
    y, cache = ours(*inputs)
    dy = array(*y.shape, seed=9) * 0.3
    got = back(dy, cache)
    got = got if isinstance(got, tuple) else (got,)
    with jax.enable_x64(True):
        want_y, vjp = jax.vjp(theirs, *(jnp.asarray(x) for x in inputs))
        want = vjp(jnp.asarray(dy))
    np.testing.assert_allclose(y, want_y, rtol=1e-9, atol=1e-12)
    for i, x in enumerate(inputs):
        chex.assert_equal_shape([got[i], x], custom_message="a gradient has the shape of its variable")
        np.testing.assert_allclose(got[i], want[i], rtol=1e-6, atol=1e-9)

        def loss(x, i=i):
            return (ours(*inputs[:i], x, *inputs[i + 1 :])[0] * dy).sum()

        measured = numerical_gradient(loss, x)
        assert relative_error(got[i], measured) < 1e-5


@pytest.mark.slow
@pytest.mark.covers("BP-09")
def test_the_losses_and_their_gradients():
    scores, label = array(4, 3), np.array([0, 2, 1, 2])
    with jax.enable_x64(True):
        pairs = [
            (layers.softmax_loss, optax.softmax_cross_entropy_with_integer_labels),
            (layers.svm_loss, multiclass_hinge_loss),
        ]
        for ours, theirs in pairs:
            value, gradient = ours(scores, label)
            want, slope = jax.value_and_grad(lambda s, f=theirs: f(s, jnp.asarray(label)).mean())(jnp.asarray(scores))
            assert value == pytest.approx(float(want), rel=1e-9)
            np.testing.assert_allclose(gradient, slope, rtol=1e-6, atol=1e-12)
            measured = numerical_gradient(lambda s, f=ours: f(s, label)[0], scores)
            assert relative_error(gradient, measured) < 1e-6


@pytest.mark.covers("BP-09")
def test_svm_by_hand():
    # (3.2, 5.1, -1.7), label 0: max(0, 5.1 - 3.2 + 1) + max(0, -1.7 - 3.2 + 1) = 2.9; only class 1 comes too near.
    value, gradient = layers.svm_loss(np.array([[3.2, 5.1, -1.7]]), np.array([0]))
    assert value == pytest.approx(2.9)
    np.testing.assert_array_equal(gradient, [[-1, 1, 0]])


def test_im2col_and_its_transpose():
    x, patches = array(2, 5, 4, 3), array(2, 3, 2, 3, 2, 3, seed=4)
    cols = layers.im2col(x, 3, 2, stride=2, pad=1)
    chex.assert_shape(cols, (2, 3, 3, 3, 2, 3))  # (5 + 2 - 3) / 2 + 1 = 3, (4 + 2 - 2) / 2 + 1 = 3
    np.testing.assert_array_equal(cols[1, 1, 1, 0, 1], x[1, 1, 2])  # starts at row 2 * 1 - 1 = 1, column 1, one right
    patches = array(*cols.shape, seed=4)
    assert (cols * patches).sum() == pytest.approx((x * layers.col2im(patches, x.shape, 2, 1)).sum())


def test_a_tie_in_max_pooling_gives_all_to_the_first():
    y, cache = layers.max_pool_forward(np.ones((1, 2, 2, 1)))
    np.testing.assert_array_equal(layers.max_pool_backward(y * 5, cache)[0, :, :, 0], [[5, 0], [0, 0]])


def test_dropout_keeps_the_mean():
    y, _ = layers.dropout_forward(np.ones(100_000), 0.3, np.random.default_rng(0))
    assert y.mean() == pytest.approx(1, abs=0.01)
    assert set(np.round(np.unique(y), 6)) == {0.0, round(1 / 0.7, 6)}


def test_large_scores_stay_finite():
    scores = np.array([[1e4, -1e4, 0.0]])
    for label in range(3):
        value, gradient = layers.softmax_loss(scores, np.array([label]))
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(layers.softmax_forward(scores)[0], [[1, 0, 0]])


def test_bad_arguments():
    with pytest.raises(ValueError, match="kh=3 and kw=3: larger than the padded image; allowed: at most 2x2"):
        layers.im2col(np.zeros((1, 2, 2, 1)), 3, 3)
