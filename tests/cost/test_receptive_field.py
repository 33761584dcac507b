"""Receptive fields by the rules of a jaxpr, beside what a changed pixel changes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend import core

from dlcore.cost import receptive_field
from dlcore.ops import avg_pool, max_pool

KERNEL = jnp.ones((3, 3, 2, 2))


def conv(x, stride=1, padding=((1, 1), (1, 1)), **kwargs):
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, KERNEL, (stride, stride), padding, dimension_numbers=numbers, **kwargs)


NETWORKS = {
    "convolutions": lambda x: conv(conv(x, 2), 1),
    "dilated": lambda x: conv(x, rhs_dilation=(2, 2), padding=((2, 2), (0, 4))),
    "transposed": lambda x: conv(conv(x, 2), lhs_dilation=(2, 2)),
    "poolings": lambda x: avg_pool(max_pool(conv(x), (3, 3), (2, 2), padding=1), (2, 2), (2, 2)),
    "window": lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 2, 1), (1, 2, 1, 1), "SAME"),
    "patches": lambda x: jnp.einsum("bhiwjc,ijcd->bhwd", x.reshape(1, 6, 2, 6, 2, 2), jnp.ones((2, 2, 2, 3))),
    "two paths": lambda x: conv(x, 2) + conv(conv(x), 2),
    "mirrored": lambda x: conv(x[:, ::-1]),
    "concatenated": lambda x: jnp.concatenate([conv(x), jnp.pad(x[:, 1:], ((0, 0), (0, 1), (0, 0), (0, 0)))], -1),
    "split and joined": lambda x: jnp.concatenate(jnp.split(conv(x), 2, axis=1), axis=1),
    "transposed axes": lambda x: conv(x.transpose(0, 2, 1, 3)).transpose(0, 3, 1, 2),
    "a row's mean": lambda x: conv(x).mean(2),
    "the mean of all": lambda x: x - conv(x).mean((1, 2), keepdims=True),
}


def field_of(function, x):
    jaxpr = jax.make_jaxpr(function)(x).jaxpr
    return walk(jaxpr, [receptive_field.of_image(x.shape)])[0]


def walk(jaxpr, fields):
    known = dict(zip(jaxpr.invars, fields, strict=True))
    read = lambda atom: None if isinstance(atom, core.Literal) else known.get(atom)  # noqa: E731
    for eqn in jaxpr.eqns:
        fields = [read(v) for v in eqn.invars]
        inner = eqn.params.get("jaxpr") or eqn.params.get("call_jaxpr")
        found = receptive_field.after(eqn, fields) if inner is None else walk(getattr(inner, "jaxpr", inner), fields)
        known.update(zip(eqn.outvars, found, strict=True))
    return [read(v) for v in jaxpr.outvars]


EXACT = set(NETWORKS) - {"transposed", "split and joined", "two paths", "concatenated", "the mean of all"}


@pytest.mark.slow(unless=["convolutions", "dilated", "patches"])
@pytest.mark.covers("CO-05")
@pytest.mark.parametrize("name", NETWORKS)
def test_every_pixel_with_a_gradient_is_inside_the_field(name):
    """And where nothing is a bound only, the field is no wider than the pixels of an element in the middle."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 12, 12, 2)), jnp.float32)
    linear = name not in ("poolings", "window")
    field = field_of(NETWORKS[name], x)
    jacobian = np.abs(np.asarray(jax.jacobian(NETWORKS[name])(x))).sum((-1, -4))
    widths = {axis: set() for axis in field}
    for element in np.ndindex(*jacobian.shape[:-2]):
        touched = np.argwhere(jacobian[element] > 0)
        for axis, span in field.items():
            base = sum(step * element[a] for a, step in span.steps.items())
            if len(touched):
                assert touched[:, axis - 1].min() >= np.floor(base + span.low)
                assert touched[:, axis - 1].max() <= np.ceil(base + span.high)
                widths[axis].add(int(np.ptp(touched[:, axis - 1])) + 1)
    if name in EXACT and linear:
        for axis, span in field.items():
            assert max(widths[axis]) == min(span.high - span.low + 1, 12), axis


@pytest.mark.covers("CO-05")
def test_fields_by_hand():
    """3x3 of stride 2 and then 3x3: 3 + 2 * 2 = 7 pixels, from 2 i - 3; dilation 2 makes 3 taps 5 wide."""
    x = jnp.ones((1, 12, 12, 2))
    assert field_of(NETWORKS["convolutions"], x)[1] == receptive_field.Span({1: 2.0}, -3.0, 3.0)
    dilated = field_of(NETWORKS["dilated"], x)
    assert dilated[1] == receptive_field.Span({1: 1.0}, -2.0, 2.0)
    assert dilated[2] == receptive_field.Span({2: 1.0}, 0.0, 4.0)
    assert field_of(NETWORKS["patches"], x)[2] == receptive_field.Span({2: 2.0}, 0.0, 1.0)
    assert field_of(NETWORKS["two paths"], x)[1] == receptive_field.Span({1: 2.0}, -2.0, 2.0)
    assert field_of(NETWORKS["mirrored"], x)[1] == receptive_field.Span({1: -1.0}, 10.0, 12.0)
    assert field_of(NETWORKS["a row's mean"], x)[2] == receptive_field.Span({}, -1.0, 12.0)


@pytest.mark.covers("CO-05")
@pytest.mark.parametrize(
    ("function", "field"),
    [
        # Stride 2 and back: one pixel a step, and 1 + 1 to either side.
        (NETWORKS["transposed"], {1: ({1: 1.0}, -2, 2), 2: ({2: 1.0}, -2, 2)}),
        # 3 taps, then 3 at stride 2, then 2 that are two pixels apart.
        (NETWORKS["poolings"], {1: ({1: 4.0}, -2, 4), 2: ({2: 4.0}, -2, 4)}),
        (NETWORKS["transposed axes"], {1: ({3: 1.0}, -1, 1), 2: ({2: 1.0}, -1, 1)}),
        (NETWORKS["concatenated"], {1: ({1: 1.0}, -1, 1), 2: ({2: 1.0}, -1, 1)}),
        (NETWORKS["split and joined"], {1: ({1: 1.0}, -1, 1), 2: ({2: 1.0}, -1, 1)}),
        # Rows of their own and the mean of all: a step each, and no bound.
        (NETWORKS["the mean of all"], {a: ({a: 1.0}, -math.inf, math.inf) for a in (1, 2)}),
        (lambda x: x[:, 3::2, :5], {1: ({1: 2.0}, 3, 3), 2: ({2: 1.0}, 0, 0)}),
        (lambda x: jnp.split(x, [5], 2)[1], {1: ({1: 1.0}, 0, 0), 2: ({2: 1.0}, 5, 5)}),
        # Two rows before, and a row between each two: element 2 is pixel 0, and element 4 pixel 1.
        (
            lambda x: lax.pad(x, 0.0, [(0, 0, 0), (2, 1, 1), (0, 0, 0), (0, 0, 0)]),
            {1: ({1: 0.5}, -1, -1), 2: ({2: 1.0}, 0, 0)},
        ),
        # The first four rows once more before them: element 4 is pixel 0 or, of the copy, pixel 4.
        (lambda x: jnp.concatenate([x[:, :4], x], 1), {1: ({1: 1.0}, -4, 0), 2: ({2: 1.0}, 0, 0)}),
        (lambda x: x[:, :, ::-1], {1: ({1: 1.0}, 0, 0), 2: ({2: -1.0}, 11, 11)}),
        # Axes of size 1 come and go; a row of one is that of all.
        (
            lambda x: x[:, None].sum(4)[:, 0] + x[:, 2:3, :, 0],
            {1: ({1: 1.0}, -math.inf, math.inf), 2: ({2: 1.0}, 0, 0)},
        ),
        # Columns of 12 as 3 x 4, and pixels in one row of 144, of which each knows its row and column no more.
        (lambda x: x.reshape(1, 12, 3, 4, 2), {1: ({1: 1.0}, 0, 0), 2: ({2: 4.0, 3: 1.0}, 0, 0)}),
        (lambda x: x.reshape(1, 144, 2), {1: ({}, 0, 11), 2: ({}, 0, 11)}),
        (
            lambda x: jnp.einsum("bhwc,bhvc->bvhw", x, x[:, :, :3]),
            {1: ({2: 1.0}, 0, 0), 2: ({1: 1.0, 3: 1.0}, -math.inf, math.inf)},
        ),
        (lambda x: jnp.argmax(x, 1), {1: ({}, 0, 11), 2: ({1: 1.0}, 0, 0)}),
        (lambda x: lax.reduce_precision(x, 8, 7), {1: ({1: 1.0}, 0, 0), 2: ({2: 1.0}, 0, 0)}),
    ],
)
def test_more_fields_by_hand(function, field):
    found = field_of(function, jnp.ones((1, 12, 12, 2)))
    assert found == {axis: receptive_field.Span(*span) for axis, span in field.items()}


def test_sort_cumsum_and_gather_have_an_unbounded_field():
    x = jnp.ones((1, 12, 12, 2))
    for mixing in (lambda x: jnp.sort(x, 1), lambda x: jnp.cumsum(x, 1), lambda x: x[:, jnp.asarray([3, 0, 2])]):
        span = field_of(mixing, x)[1]
        assert (span.steps, span.low, span.high) == ({}, -math.inf, math.inf)


def test_constants_look_at_nothing():
    assert field_of(lambda x: jnp.arange(3.0) * 2, jnp.ones((1, 4, 4, 1))) is None


@pytest.mark.covers("CO-05")
def test_windows_by_hand():
    """Of 3 rows in steps of 2, which begin at row 0, and 2 columns; then the same with dilation."""
    x = jnp.ones((1, 12, 12, 2))
    window = field_of(NETWORKS["window"], x)
    assert window[1] == receptive_field.Span({1: 2.0}, 0.0, 2.0)
    assert window[2] == receptive_field.Span({2: 1.0}, 0.0, 1.0)
    # Rows stand twice as far apart: row i has its taps at (i - 2, i, i + 2) / 2, and column j at j - 1 and j + 2.
    options = {
        "window_dimensions": (1, 3, 2, 1), "window_strides": (1, 1, 1, 1), "padding": ((0, 0), (2, 0), (1, 0), (0, 0)),
        "base_dilation": (1, 2, 1, 1), "window_dilation": (1, 2, 3, 1),
    }  # fmt: skip
    dilated = field_of(lambda x: lax.reduce_window(x, 0.0, lax.add, **options), x)
    assert dilated[1] == receptive_field.Span({1: 0.5}, -1.0, 1.0)
    assert dilated[2] == receptive_field.Span({2: 1.0}, -1.0, 2.0)
