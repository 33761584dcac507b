"""Canonical and view coordinates: round trips, a turn by hand, one object seen from two sides; bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.solid_images import DISTANCE, solid_images
from dlcore.ops.camera import rotation_from_vector
from dlcore.vision3d.coordinates import canonical_to_view, view_to_canonical

TO_VIEW, TO_CANONICAL = jax.jit(canonical_to_view), jax.jit(view_to_canonical)


@pytest.mark.covers("TD-14")
def test_round_trips():
    rng = np.random.default_rng(0)
    rotation = np.asarray(jax.jit(rotation_from_vector)(rng.normal(size=(5, 3)).astype(np.float32)))
    points, translation = rng.normal(size=(2, 5, 7, 3)).astype(np.float32)
    translation, scale = translation[:, 0], rng.uniform(0.5, 2, 5).astype(np.float32)
    view = np.asarray(TO_VIEW(points, rotation, translation, scale))
    for i in range(5):
        np.testing.assert_allclose(view[i], scale[i] * points[i] @ rotation[i].T + translation[i], atol=1e-5)
    np.testing.assert_allclose(TO_CANONICAL(view, rotation, translation, scale), points, atol=1e-5)
    np.testing.assert_allclose(
        TO_VIEW(TO_CANONICAL(points, rotation, translation, scale), rotation, translation, scale), points, atol=1e-5
    )


@pytest.mark.covers("TD-14")
def test_an_object_has_the_same_canonical_coordinates_from_all_sides():
    # A camera at (0, 0, -4) has the object's axes. One at (4, 0, 0) looks along -x, with z to its right: the object's
    # point (1, 2, 3) has x = 3, y = 2 and the depth 4 - 1.
    points = np.array([[1.0, 2, 3]], np.float32)
    front, right = np.eye(3, dtype=np.float32), np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], np.float32)
    seen = [np.asarray(TO_VIEW(points, r, np.array([0, 0, 4.0], np.float32), 1.0)) for r in (front, right)]
    np.testing.assert_allclose(seen[0], [[1, 2, 7]])
    np.testing.assert_allclose(seen[1], [[3, 2, 3]])
    for view, rotation in zip(seen, (front, right), strict=True):
        np.testing.assert_allclose(TO_CANONICAL(view, rotation, np.array([0, 0, 4.0], np.float32), 1.0), points)


@pytest.mark.covers("TD-14")
def test_rendered_boxes_stand_upright_along_their_canonical_axes():
    arrays = solid_images(12, 3, size=8, num_points=64, kinds=("box",), pose=True).arrays
    translation = np.array([0, 0, DISTANCE], np.float32)
    points = np.asarray(TO_CANONICAL(arrays["points"], arrays["rotation"], translation, 1.0))
    normals = np.asarray(TO_CANONICAL(arrays["normals"], arrays["rotation"], np.zeros(3, np.float32), 1.0))
    np.testing.assert_allclose(np.abs(normals).max(-1), 1, atol=1e-4)  # each side faces one of the axes
    half_extents = np.abs(points).max(1)  # points on all sides reach the sides' distances
    assert (half_extents[:, 0] >= half_extents[:, 1] - 1e-4).all()
    assert (np.abs(arrays["normals"]).max(-1) < 0.999).mean() > 0.9  # in view coordinates they do not
    same = solid_images(12, 3, size=8, num_points=64, kinds=("box",)).arrays
    assert "rotation" not in same
    np.testing.assert_array_equal(same["points"], arrays["points"])


def test_bad_input_is_one_clear_line():
    points, eye = jnp.zeros((2, 3)), np.eye(3)
    with pytest.raises(ValueError, match=r"points.shape=\(3,\): no points; allowed: \[..., N, 3\]"):
        canonical_to_view(points[0], eye)
