"""Solids have the volumes and Euler characteristics of what they are called."""

import numpy as np
import pytest

from dlcore import ops
from dlcore.data.solid_meshes import SOLID_MESHES, posed_solid_mesh, revolve_profile, solid_clouds, solid_mesh

# A polygon of n corners on the unit circle has the area n/2 sin(2π/n): 2 for the square, 1.299 for the triangle.
DISC = 12 * np.sin(2 * np.pi / 24)
VOLUMES = {
    "box": 2 * 2,
    "cone": DISC * 2 / 3,
    "cylinder": DISC * 2,
    "prism": 1.5 * np.sin(2 * np.pi / 3) * 2,
    "pyramid": 2 * 2 / 3,
}


@pytest.mark.parametrize("kind", SOLID_MESHES)
def test_solids_are_closed_and_face_outward(kind):
    for rng in (None, np.random.default_rng(0)):
        vertices, faces = solid_mesh(kind, rng)
        ops.check_mesh(vertices, faces, closed=True)
        assert ops.euler_characteristic(faces) == (0 if kind == "torus" else 2)
        a, b, c = (vertices[faces[:, k]] for k in range(3))
        volume = (a * np.cross(b, c)).sum() / 6
        assert volume > 0
        if rng is None and kind in VOLUMES:
            assert volume == pytest.approx(VOLUMES[kind], rel=1e-5)


def test_clouds_do_not_depend_on_their_number():
    few, more = solid_clouds(3, 1, 16), solid_clouds(9, 1, 16)
    np.testing.assert_array_equal(few.arrays["points"], more.arrays["points"][:3])
    np.testing.assert_array_equal(more.arrays["label"], [*range(8), 0])
    assert not np.array_equal(more.arrays["points"][0], more.arrays["points"][8])
    exact = solid_clouds(8, 1, 16, noise=0).arrays["points"]
    np.testing.assert_allclose(np.linalg.norm(exact, axis=-1).max(1), 1, rtol=1e-6)
    np.testing.assert_array_equal(solid_clouds(1, 1, num_points=1, noise=0).arrays["points"], np.zeros((1, 1, 3)))


def test_bad_solids_are_one_clear_line():
    with pytest.raises(ValueError, match="not closed; allowed: radius 0 at both ends"):
        revolve_profile([(1, 0), (1, 1), (0, 2)], 4)


def test_a_solid_turned_back_lies_along_its_axes():
    """The longer of its two horizontal extents is along x, and turned forth again it is the same mesh."""
    for kind in SOLID_MESHES:
        _, _, rotation = posed_solid_mesh(kind)
        np.testing.assert_array_equal(rotation, np.eye(3))
        for seed in range(3):
            vertices, _, rotation = posed_solid_mesh(kind, np.random.default_rng(seed))
            np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
            assert np.linalg.det(rotation) == pytest.approx(1)
            canonical = vertices @ rotation
            across, along, high = np.ptp(canonical, 0)
            assert across >= along - 1e-6
            # Proportions of 0.6 to 1 across and up to 1.4 high, of solids of at most 2 * 1.55 and 4.
            assert high == pytest.approx(np.ptp(vertices[:, 2]), rel=1e-6)
            assert across <= 2 * 1.55
            assert high <= 1.4 * 4
