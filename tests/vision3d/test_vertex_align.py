"""Vertex-aligned features of ramps, whose values are coordinates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.vision3d.vertex_align import vertex_align

INTRINSICS = jnp.array([[10.0, 0, 3.5], [0, 10, 3.5], [0, 0, 1]])  # of an image of 8 x 8 pixels


def ramp(side):
    """[1, side, side, 2]: column and row."""
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    return np.stack([columns, rows], -1)[None]


@pytest.mark.covers("TD-12")
def test_a_ramp_gives_the_coordinates_of_the_projection():
    # (0.2, -0.1, 2): u = 10 · 0.1 + 3.5 = 4.5, v = 10 · (-0.05) + 3.5 = 3.0. At stride 2: (4.5 + .5) / 2 - .5 = 2.0
    # and (3 + .5) / 2 - .5 = 1.25. (9, 0, 1) projects to u = 93.5, beyond the border of 7 and of 3.
    vertices, others = np.float32([[[0.2, -0.1, 2], [9, 0, 1]]]), np.float32([[[0.2, -0.1, 2], [-9, -9, 1], [9, 9, 1]]])
    maps = ramp(8), ramp(4)

    @jax.jit
    def run(vertices, others, fine, coarse):
        square = vertex_align([fine, coarse], vertices, INTRINSICS, (8, 8))
        return square, vertex_align([fine[:, :4], coarse[:, :2]], others, INTRINSICS, (4, 8))

    got, wide = run(vertices, others, *maps)
    np.testing.assert_allclose(got, [[[4.5, 3.0, 2.0, 1.25], [7.0, 3.5, 3.0, 1.5]]], rtol=1e-6)
    # The first rows of the same maps: a wide image; (-9, -9, 1) lies above and left of it, (9, 9, 1) below and right.
    np.testing.assert_allclose(wide, [[[4.5, 3, 2, 1], [0, 0, 0, 0], [7, 3, 3, 1]]], rtol=1e-6)


@pytest.mark.covers("TD-12")
def test_gradients_reach_vertices_and_maps():
    # du/dX = f / depth = 5, dv/dY = 5, du/dZ = -f X / depth² = -10 · 0.2 / 4 = -0.5, dv/dZ = 0.25.
    vertices = jnp.array([[[0.2, -0.1, 2.0]]])

    @jax.jit
    def gradients(vertices, features):
        jacobian = jax.jacrev(lambda v: vertex_align([features], v, INTRINSICS, (8, 8))[0, 0])(vertices)
        return jacobian, jax.grad(lambda m: vertex_align([m], vertices, INTRINSICS, (8, 8))[..., 0].sum())(features)

    jacobian, weights = gradients(vertices, ramp(8))
    np.testing.assert_allclose(jacobian[:, 0, 0], [[5, 0, -0.5], [0, 5, 0.25]], rtol=1e-5, atol=1e-6)
    # u = 4.5 lies between columns 4 and 5, v = 3 on row 3.
    expected = np.zeros((8, 8))
    expected[3, 4:6] = 0.5
    np.testing.assert_allclose(weights[0, ..., 0], expected, atol=1e-6)


def test_bad_input_is_one_clear_line():
    ones = jnp.ones((1, 2, 3))
    with pytest.raises(ValueError, match=r"points\[0, 1\]: depth of 0"):
        vertex_align([ramp(8)], ones.at[0, 1, 2].set(0), INTRINSICS, (8, 8))
