"""Masked convolutions: nothing comes from later pixels, or from later colors of the same pixel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.nn import MaskedConv, causal_kernel_mask


@pytest.mark.covers("CV-27")
def test_masks_by_hand():
    for kind, center in (("A", 0), ("B", 1)):
        mask = causal_kernel_mask((3, 3), 1, 1, kind)[:, :, 0, 0]
        np.testing.assert_array_equal(mask, [[1, 1, 1], [1, center, 0], [0, 0, 0]])
    # Three colors: of its own pixel green sees red (A), and itself too (B).
    np.testing.assert_array_equal(causal_kernel_mask((1, 1), 3, 3, "A", 3)[0, 0], [[0, 1, 1], [0, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(causal_kernel_mask((1, 1), 3, 3, "B", 3)[0, 0], [[1, 1, 1], [0, 1, 1], [0, 0, 1]])
    # Six channels in blocks of two for three features.
    np.testing.assert_array_equal(
        causal_kernel_mask((1, 1), 6, 3, "B", 3)[0, 0], np.repeat([[1, 1, 1], [0, 1, 1], [0, 0, 1]], 2, axis=0)
    )


@pytest.mark.slow(unless=["3"])
@pytest.mark.covers("CV-27")
@pytest.mark.parametrize("colors", [1, 3])
def test_no_gradient_comes_from_the_future(colors):
    """Two layers, A then B, on 5x5: row by row, then color by color, only what is before an output moves it."""
    size, channels = 5, 3
    first = MaskedConv(6, (3, 3), "A", colors)
    second = MaskedConv(3, (5, 3), "B", colors)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, size, size, channels)), jnp.float32)

    @jax.jit
    def positive(x):
        y, one = first.init_with_output(jax.random.key(0), x)
        variables = one, second.init(jax.random.key(1), y)
        return jax.tree.map(lambda p: jnp.abs(p) + 0.1, variables)  # no path cancels

    one, two = positive(x)

    def network(x):
        return second.apply(two, first.apply(one, x[None]))[0].reshape(-1)

    jacobian = np.asarray(jax.jit(jax.jacrev(network))(x[0])).reshape(size * size * 3, size * size * channels)
    out, into = (np.arange(n) for n in jacobian.shape)
    allowed = (into // channels)[None] < (out // 3)[:, None] if colors == 1 else into[None] < out[:, None]
    assert not jacobian[~allowed].any()
    last = jacobian[(2 * size + 2) * 3 + 2]  # the center's last color sees its left neighbor and the row above
    assert last[(2 * size + 1) * channels] != 0
    assert last[(1 * size + 3) * channels] != 0
    assert (last[(2 * size + 2) * channels + 1] != 0) == (colors == 3)
