"""What elements see, by hand and against gradients, and the steps of loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from dlcore.diagnostics.dependence import dependence, steps_to_see_all

X = jax.ShapeDtypeStruct((4,), jnp.float32)


def seen(function, x=X, axis=0):
    return [sorted(map(int, np.flatnonzero(row))) for row in dependence(function, x, axis)]


@pytest.mark.slow
def test_moves_and_sums_map_each_output_to_its_inputs():
    assert seen(lambda x: x[::-1]) == [[3], [2], [1], [0]]
    assert seen(lambda x: jnp.concatenate([x[1:], jnp.zeros(1)])) == [[1], [2], [3], []]
    assert seen(lambda x: x + jnp.roll(x, 1)) == [[0, 3], [0, 1], [1, 2], [2, 3]]
    assert seen(lambda x: jnp.pad(x, (1, 0))[:4]) == [[], [0], [1], [2]]
    assert seen(lambda x: jnp.cumsum(x)) == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]
    assert seen(lambda x: lax.cumsum(x, reverse=True)[2:]) == [[2, 3], [3]]
    assert seen(lambda x: x.reshape(2, 2).max(1)) == [[0, 1], [2, 3]]
    assert seen(lambda x: jnp.stack([x[0] * 2, jnp.float32(1.0), x[1:3].sum()])) == [[0], [], [1, 2]]
    assert seen(lambda x: jnp.outer(x[:2], x[2:]).reshape(-1)) == [[0, 2], [0, 3], [1, 2], [1, 3]]
    assert seen(lambda x: jnp.ones(2)) == [[], []]


def test_products_and_their_batch_axes():
    x = jax.ShapeDtypeStruct((3, 2), jnp.float32)
    weight = np.ones((2, 5), np.float32)
    assert seen(lambda x: (x @ weight)[:, 0], x) == [[0], [1], [2]]
    assert seen(lambda x: (x @ weight).sum(0), x) == [[0, 1, 2]] * 5
    assert seen(lambda x: (x @ weight).sum(1), x, axis=1) == [[0, 1]] * 3
    assert seen(lambda x: jnp.einsum("td,sd->ts", x, x)[0], x) == [[0], [0, 1], [0, 2]]
    assert seen(lambda x: jnp.einsum("td,td->t", x, x), x) == [[0], [1], [2]]


@pytest.mark.slow(unless=["2-padding1-1-1-1", "1-padding3-1-2-2"])
@pytest.mark.parametrize(
    ("strides", "padding", "dilation", "spread", "groups"),
    [(1, (0, 0), 1, 1, 1), (2, (1, 2), 1, 1, 1), (1, (3, 0), 2, 1, 2), (1, (1, 1), 1, 2, 2)],
)
def test_a_convolution_sees_what_its_gradient_says(strides, padding, dilation, spread, groups):
    """With positive weights nothing cancels: what is seen is where the Jacobian is not zero."""
    kernel = np.random.default_rng(0).uniform(0.5, 1, (3, 4 // groups, 4)).astype(np.float32)

    def conv(x):
        return lax.conv_general_dilated(
            x,
            kernel,
            (strides,),
            (padding,),
            (spread,),
            (dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
            feature_group_count=groups,
        )

    x = np.zeros((1, 9, 4), np.float32)
    slope = np.asarray(jax.jit(jax.jacrev(conv))(x)) > 0  # [1, W', C', 1, W, C]
    np.testing.assert_array_equal(dependence(conv, x, axis=1), slope[:, :, :, 0].any(-1))
    np.testing.assert_array_equal(dependence(conv, x, axis=2), slope[:, :, :, 0].any(-2))


def test_loops_are_walked_turn_by_turn():
    def running(x):
        return lax.scan(lambda h, x: (h + x, h), 0.0, x)[1]

    assert seen(running) == [[], [0], [0, 1], [0, 1, 2]]
    assert seen(lambda x: lax.scan(lambda h, x: (h + x, h + x), 0.0, x, reverse=True)[1]) == [
        [0, 1, 2, 3],
        [1, 2, 3],
        [2, 3],
        [3],
    ]
    assert seen(lambda x: lax.fori_loop(0, 2, lambda i, x: x + jnp.roll(x, 1), x)) == [
        [0, 2, 3],
        [0, 1, 3],
        [0, 1, 2],
        [1, 2, 3],
    ]
    assert seen(lambda x: lax.while_loop(lambda c: c[0].sum() < 1, lambda c: (c[0], c[1] + 1), (x[:2], x))[1])[3] == [
        0,
        1,
        3,
    ]
    assert seen(lambda x: lax.cond(x[0] > 0, lambda x: x[1:2], lambda x: x[2:3], x)) == [[0, 1, 2]]


def test_sort_and_traced_gather_depend_on_all_inputs():
    assert seen(lambda x: jnp.sort(x)) == [[0, 1, 2, 3]] * 4
    assert seen(lambda x: x[x[:1].astype(int)]) == [[0, 1, 2, 3]]


def test_steps_are_counted_from_one():
    states = np.array([[[1, 0, 0], [1, 1, 1]], [[1, 1, 1], [1, 1, 1]], [[1, 1, 1], [1, 1, 1]]], bool)
    assert steps_to_see_all(states) == 2
    assert steps_to_see_all(states[:1]) is None
    assert steps_to_see_all(dependence(lambda x: lax.scan(lambda h, x: (h + x, h + x), 0.0, x)[1], X)) == 4


def test_slices_and_running_sums_by_hand():
    """One function, of the elements: x2 of a slice that begins too late, three running sums, and a constant."""

    def function(x):
        late = lax.dynamic_slice(x, (3,), (2,))  # begins at 2, so that two elements are left
        sums = lax.cumsum(x)[1:3], lax.cumsum(x, reverse=True)[:2]
        return jnp.concatenate([late, x[1][None], *sums, lax.cummax(x, reverse=True)[3:], jnp.ones(1)])

    assert seen(function) == [[2], [3], [1], [0, 1], [0, 1, 2], [0, 1, 2, 3], [1, 2, 3], [3], []]
    assert seen(lambda x: jnp.ones(2)) == [[], []]


def test_a_convolution_with_a_kernel_of_the_input_sees_all():
    def conv(x):
        return lax.conv_general_dilated(
            x[None, :, None], x[:2, None, None], (1,), "VALID", None, None, ("NWC", "WIO", "NWC")
        )

    assert seen(lambda x: conv(x)[0, :, 0]) == [[0, 1, 2, 3]] * 3


def test_a_convolution_that_cuts_its_input_or_groups_its_batch_sees_all():
    """What is not worked out exactly is not said to be less."""
    kernel = np.ones((2, 1, 2), np.float32)
    for padding, groups in (((-1, 0), 1), ((0, 0), 2)):

        def conv(x, padding=padding, groups=groups):
            x = jnp.stack([x, x])[..., None]
            return lax.conv_general_dilated(
                x, kernel, (1,), (padding,), None, None, ("NWC", "WIO", "NWC"), batch_group_count=groups
            )

        found = dependence(conv, X)
        assert found.shape[1] == (2 if groups == 1 else 3)
        assert found.all()
