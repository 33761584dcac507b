"""What is counted: every kind of product, inside every kind of inner program."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from jax import lax

from dlcore.cost.layers import layer_costs, total
from dlcore.nn import Conv
from dlcore.ops import adaptive_avg_pool, conv_general_dilated


class Function(nn.Module):
    """A module that is a function of x and a square matrix w."""

    function: object

    @nn.compact
    def __call__(self, x):
        return self.function(x, self.param("w", nn.initializers.ones, (x.shape[-1], x.shape[-1])))


def macs_of(function, shape):
    return total(layer_costs(Function(function), jax.ShapeDtypeStruct(shape, jnp.float32))).macs


def scanned(x, w):
    return lax.scan(lambda carry, row: (carry @ w, row @ w), x[0], x)


def looped(x, w):
    return lax.while_loop(lambda state: state.sum() < 9.0, lambda state: state @ w, x)


def chosen(x, w):
    return lax.cond(x.sum() > 0, lambda x: x @ w @ w, lambda x: x @ w, x)


@pytest.mark.covers("CO-02")
@pytest.mark.parametrize(
    ("function", "macs"),
    [
        (lambda x, w: x @ w, 5 * 4 * 4),
        (lambda x, w: jax.jit(lambda x: x @ w)(x), 5 * 4 * 4),
        (lambda x, w: jax.checkpoint(lambda x: jnp.tanh(x @ w) @ w)(x), 2 * 5 * 4 * 4),
        (lambda x, w: jnp.einsum("nc,mc->nm", x, x), 5 * 5 * 4),
        (lambda x, w: jax.vmap(lambda row: row @ w)(x), 5 * 4 * 4),
        (scanned, 5 * (4 * 4 + 4 * 4)),  # five turns
        (looped, 5 * 4 * 4),  # one turn
        # what a loop carries from zeros is no constant: three turns, and one
        (lambda x, w: lax.scan(lambda carry, _: (carry @ w + x, None), jnp.zeros((5, 4)), None, 3)[0], 3 * 5 * 4 * 4),
        (lambda x, w: lax.while_loop(lambda y: y.sum() < 9.0, lambda y: y @ w + x, jnp.zeros((5, 4))), 5 * 4 * 4),
        (lambda x, w: lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x) @ w, 5 * 4 * 4),
        (chosen, 2 * 5 * 4 * 4),  # the dearer branch
        (lambda x, w: x * 2 + jnp.tanh(x), 0),
        (lambda x, w: x @ jnp.eye(4), 0),  # an averaging by constants is no layer
        (lambda x, w: jax.grad(lambda x: jnp.square(x @ w).sum())(x), 5 * 4 * 4 + 5 * 4 * 4),
    ],
)
def test_products(function, macs):
    assert macs_of(function, (5, 4)) == macs


def conv(x, features, size, **kwargs):
    groups = kwargs.get("feature_group_count", 1)
    kernel = jnp.ones((size, size, x.shape[-1] // groups, features)) * x.sum()
    strides = kwargs.pop("window_strides", (1, 1))
    return conv_general_dilated(
        x, kernel, strides, kwargs.pop("padding", "SAME"), dimension_numbers=("NHWC", "HWIO", "NHWC"), **kwargs
    )


@pytest.mark.covers("CO-02")
@pytest.mark.parametrize(
    ("function", "macs"),
    [
        (lambda x, w: conv(x, 6, 3), 2 * 64 * 6 * 4 * 9),
        (lambda x, w: conv(x, 6, 1), 2 * 64 * 6 * 4),  # a dot
        (lambda x, w: conv(x, 6, 2, window_strides=(2, 2)), 2 * 16 * 6 * 4 * 4),  # patches, a dot
        (lambda x, w: conv(x, 6, 3, window_strides=(2, 2), feature_group_count=2), 2 * 16 * 6 * 2 * 9),
        (lambda x, w: conv(x, 8, 3, feature_group_count=4), 2 * 64 * 8 * 9),  # depthwise: sums of products on a CPU
        (lambda x, w: conv(x, 6, 3, rhs_dilation=(2, 2)), 2 * 64 * 6 * 4 * 9),
        # transposed: each of 64 pixels meets nine taps; the zeros between are not counted
        (lambda x, w: conv(x, 6, 3, lhs_dilation=(2, 2), padding=((1, 2), (1, 2))), 2 * 64 * 6 * 4 * 9),
        (lambda x, w: adaptive_avg_pool(x, 3), 0),
    ],
)
def test_convolutions(function, macs):
    assert macs_of(function, (2, 8, 8, 4)) == macs


class Recurrent(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.RNN(nn.SimpleCell(6), name="rnn")(x)


class Remat(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.remat(Conv)(4, (3, 3), name="first")(x)
        return Conv(4, (3, 3), name="second")(x)


@pytest.mark.covers("CO-02")
def test_layers_inside_loops_count_their_turns():
    """Seven steps of 3 -> 6 and 6 -> 6."""
    layers = layer_costs(Recurrent(), jax.ShapeDtypeStruct((2, 7, 3), jnp.float32))
    assert total(layers).macs == 7 * 2 * (3 * 6 + 6 * 6)
    assert total(layers).parameters == 3 * 6 + 6 + 6 * 6
    assert {layer.path: layer.macs for layer in layers if layer.macs} == {
        "SimpleCell_0/i": 7 * 2 * 18,
        "SimpleCell_0/h": 7 * 2 * 36,
    }
    # Inputs and outputs of two sequences, four bytes a number, in each turn.
    rows = {layer.path: (layer.input_bytes, layer.output_bytes) for layer in layers if layer.macs}
    assert rows["SimpleCell_0/i"] == (7 * 2 * 3 * 4, 7 * 2 * 6 * 4)
    assert rows["SimpleCell_0/h"] == (7 * 2 * 6 * 4, 7 * 2 * 6 * 4)


def test_recomputed_layers_keep_their_names():
    layers = layer_costs(Remat(), jax.ShapeDtypeStruct((1, 8, 8, 4), jnp.float32))
    assert [(layer.path, layer.macs, layer.receptive_field) for layer in layers] == [
        ("first", 64 * 4 * 4 * 9, (3.0, 3.0)),
        ("second", 64 * 4 * 4 * 9, (5.0, 5.0)),
    ]


@pytest.mark.covers("CO-01", "CO-02")
def test_parameters_that_one_module_holds_for_another():
    """flax's LSTM multiplies by all four kernels at once: 4 (3 * 6 + 6 * 6) MACs a step, in the cell itself."""
    layers = layer_costs(nn.RNN(nn.OptimizedLSTMCell(6)), jax.ShapeDtypeStruct((2, 7, 3), jnp.float32))
    assert total(layers).macs == 7 * 2 * 4 * (3 * 6 + 6 * 6)
    assert total(layers).parameters == 4 * (3 * 6 + 6 * 6 + 6)
    assert {layer.kind for layer in layers} == {"product", "parameter"}


@pytest.mark.covers("CO-02", "CO-05")
def test_a_transposed_layer():
    """4 taps at stride 2: each of 64 pixels meets 16 taps, an output sees two pixels along an axis, half a pixel on."""
    (layer,) = layer_costs(nn.ConvTranspose(4, (4, 4), (2, 2)), jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32))
    assert layer.macs == 2 * 64 * 16 * 3 * 4
    assert (layer.receptive_field, layer.stride) == ((2.0, 2.0), (0.5, 0.5))


def test_other_ranks_and_nothing_at_all():
    (clip,) = layer_costs(nn.Conv(4, (3, 3, 3), 2), jax.ShapeDtypeStruct((2, 16, 16, 16, 3), jnp.float32))
    assert (clip.macs, clip.receptive_field) == (2 * 8**3 * 4 * 3 * 27, (3.0, 3.0, 3.0))
    assert macs_of(lambda x, w: x[:, :0].reshape(0, 3), (1, 4, 4, 3)) == 0
    assert macs_of(lambda x, w: lax.reduce(x, 0.0, lambda a, b: a + 2 * b, (1, 2)), (1, 4, 4, 3)) == 0


class Conditioned(nn.Module):
    @nn.compact
    def __call__(self, x, t, scale=1.0):
        return nn.Dense(4, name="image")(x) + scale * nn.Dense(4, name="time")(t)


@pytest.mark.covers("CO-02")
@pytest.mark.parametrize("t", [jnp.zeros((2, 3)), jax.ShapeDtypeStruct((2, 3), jnp.float32)])
def test_other_arguments_are_no_constants(t):
    layers = layer_costs(Conditioned(), jax.ShapeDtypeStruct((2, 5), jnp.float32), t, scale=2.0)
    assert {(layer.receptive_field, layer.stride) for layer in layers} == {(None, None)}
    assert {layer.path: layer.macs for layer in layers} == {"image": 2 * 5 * 4, "time": 2 * 3 * 4}


class Rows(nn.Module):
    @nn.compact
    def __call__(self, x):
        nn.Dense(4, name="rows")(x.mean(2))
        return nn.Dense(5, name="normalized")(x - x.mean((1, 2), keepdims=True))


@pytest.mark.covers("CO-05")
def test_a_layer_has_a_field_where_all_axes_of_the_image_are_left():
    """Means of rows have one axis left; a pixel from which the mean of all is subtracted looks at the whole image."""
    rows, normalized = layer_costs(Rows(), jax.ShapeDtypeStruct((2, 6, 8, 3), jnp.float32))
    assert (rows.path, rows.receptive_field, rows.stride) == ("rows", None, None)
    assert (normalized.receptive_field, normalized.stride) == ((float("inf"),) * 2, (1.0, 1.0))
