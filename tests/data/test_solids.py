"""Procedural solids: distances by hand and by gradient, points on surfaces, depth that agrees with normals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.solids import (
    SOLID_KINDS,
    Solid,
    occupancy_grid,
    random_solid,
    render_depth,
    rgbd_scenes,
    surface_points,
)
from dlcore.losses import surface_normal_loss
from dlcore.ops import depth_to_normals

SIZES = {"sphere": [0.5] * 3, "box": [0.3, 0.4, 0.5], "cylinder": [0.4, 0.5], "cone": [0.4, 0.5], "torus": [0.5, 0.2]}


@pytest.mark.covers("TD-08")
@pytest.mark.parametrize(
    ("kind", "point", "distance"),
    [
        ("sphere", (1, 0, 0), 0.5),
        ("sphere", (0, 0, 0), -0.5),
        ("box", (0.6, 0.8, 0), 0.5),  # (0.3, 0.4) beyond the edge
        ("box", (0, 0, 0), -0.3),
        ("cylinder", (0.7, 0, 0.9), 0.5),  # (0.3, 0.4) beyond the rim
        ("cylinder", (0, 0, 0.45), -0.05),
        ("cone", (0, 0, 1.5), 1.0),  # above the apex at 0.5
        ("cone", (0, 0, -0.6), 0.1),  # below the base
        ("cone", (0, 0, -0.4), -0.1),
        ("torus", (0.5, 0, 0), -0.2),
        ("torus", (0, 0, 0), 0.3),  # in the hole
    ],
)
def test_distances_by_hand(kind, point, distance):
    solid = Solid(kind, np.array(SIZES[kind]))
    assert solid.signed_distance(np.array(point, float)) == pytest.approx(distance, abs=1e-12)


@pytest.mark.covers("TD-08")
@pytest.mark.parametrize("kind", SOLID_KINDS)
def test_the_distance_is_exact_its_gradient_has_length_1(kind):
    rng = np.random.default_rng(0)
    solid = random_solid(rng, kind)
    points = rng.uniform(-1, 1, (256, 3)).astype(np.float32)
    value, gradient = jax.jit(jax.vmap(jax.value_and_grad(solid.signed_distance)))(jnp.asarray(points))
    np.testing.assert_allclose(np.linalg.norm(gradient, axis=-1), 1, atol=1e-3)
    # One step along the gradient reaches the surface.
    np.testing.assert_allclose(solid.signed_distance(np.asarray(points - value[:, None] * gradient)), 0, atol=1e-3)
    points, normals = surface_points(solid, 64, rng)
    np.testing.assert_allclose(solid.signed_distance(points), 0, atol=1e-5)
    outside = solid.signed_distance(points + 0.01 * normals)
    assert np.mean(np.abs(outside - 0.01) < 1e-4) > 0.9  # not where an edge is near


def test_occupied_volume_and_bad_solids():
    # 24 cells of side 1/12: the sphere of radius 0.5 has 4/3 pi 0.125 = 0.5236.
    assert occupancy_grid(Solid("sphere", np.full(3, 0.5)), 24).sum() / 12**3 == pytest.approx(0.5236, rel=0.02)
    with pytest.raises(ValueError, match="not positive; allowed: lengths above 0"):
        Solid("box", np.array([1, 0, 1.0])).signed_distance(np.zeros(3))
    with pytest.raises(ValueError, match="size=4: out of range"):
        rgbd_scenes(1, size=4)


@pytest.mark.covers("TD-03")
def test_normals_of_a_rendered_sphere_from_depth():
    intrinsics = np.array([[48.0, 0, 15.5], [0, 48, 15.5], [0, 0, 1]])
    # The camera looks along y from y = -3; rows go down.
    rotation, center = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]), np.array([0, -3.0, 0.7])
    sphere = Solid("sphere", np.full(3, 0.7), center=np.array([0, 0, 0.7]))
    depth, normals, label = render_depth([sphere], intrinsics, rotation, -rotation @ center, 32, 32)
    v, u = np.mgrid[:32, :32]
    ray = np.stack([(u - 15.5) / 48, (v - 15.5) / 48, np.ones((32, 32))], -1)
    hit = label == 0
    # |t ray - (0, 0, 3)| = 0.7 by the quadratic formula; normals are (point - center) / radius.
    a = (ray**2).sum(-1)
    t = (3 - np.sqrt(np.maximum(9 - a * (9 - 0.49), 0))) / a
    np.testing.assert_allclose(depth[hit], t[hit], atol=1e-4)
    want = (t[..., None] * ray - (0, 0, 3)) / 0.7
    np.testing.assert_allclose(normals[hit], want[hit], atol=1e-3)
    inner = (np.hypot(u - 15.5, v - 15.5) < 7) & hit
    estimated = jax.jit(lambda depth: depth_to_normals(depth, intrinsics))(np.where(hit, depth, 9.0).astype(np.float32))
    assert np.asarray(jax.jit(surface_normal_loss)(estimated, normals.astype(np.float32)))[inner].max() < 2e-3
    with pytest.raises(ValueError, match=r"depth\[0, 1\]=0: not positive; allowed: depths above 0"):
        depth_to_normals(jnp.array([[1.0, 0], [1, 1]]), jnp.asarray(intrinsics))


def test_scenes_are_the_same_by_seed_and_number():
    few, many = rgbd_scenes(1, 3, 12).arrays, rgbd_scenes(2, 3, 12).arrays
    for name, values in few.items():
        np.testing.assert_array_equal(values[0], many[name][0])
    assert np.isfinite(many["depth"]).all()
    assert 1 < many["depth"].min() < many["depth"].max() < 12
    np.testing.assert_allclose(np.linalg.norm(many["normals"], axis=-1), 1, atol=1e-5)
    assert 0 <= many["image"].min() <= many["image"].max() <= 1


@pytest.mark.parametrize("kind", SOLID_KINDS)
def test_a_random_solid_is_turned_and_not_mirrored_and_fits_the_unit_ball(kind):
    rng = np.random.default_rng(1)
    for _ in range(10):
        solid, upright = random_solid(rng, kind), random_solid(rng, kind, upright=True)
        for one in (solid, upright):
            np.testing.assert_allclose(one.rotation @ one.rotation.T, np.eye(3), atol=1e-12)
            assert np.linalg.det(one.rotation) == pytest.approx(1)
            assert 0.35 <= one.size[0] <= 0.55
            least, most = (0.3 * one.size[0], 0.5 * one.size[0]) if kind == "torus" else (0.35, 0.55)
            assert least <= one.size[1] <= most
        np.testing.assert_allclose(upright.rotation[2], [0, 0, 1], atol=1e-12)
        np.testing.assert_allclose(upright.rotation[:, 2], [0, 0, 1], atol=1e-12)
        assert abs(solid.rotation[2, 2]) < 1


def test_a_grid_and_surface_points_lie_where_their_solid_does():
    """Of four cells along a cube of half side 2, the middle two are centered 0.5 off, at a distance of 0.87."""
    grid = occupancy_grid(Solid("sphere", np.ones(3)), 4, half_side=2.0)
    np.testing.assert_array_equal(np.argwhere(grid).min(0), [1, 1, 1])
    assert grid.sum() == 8
    far = Solid("sphere", np.full(3, 0.5), center=np.array([5.0, -3, 2]))
    points, normals = surface_points(far, 16, np.random.default_rng(0))
    np.testing.assert_allclose(points - 0.5 * normals, np.tile([5, -3, 2], (16, 1)), atol=1e-4)


def test_the_nearer_solid_is_seen_and_rays_beside_the_floor_hit_nothing():
    """A camera at the height 1 looks along y; a ball of radius 0.5 stands at y = 3, another one hides behind it."""
    rotation, center = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]), np.array([0, 0, 1.0])
    balls = [Solid("sphere", np.full(3, 0.5), center=np.array([0, y, 1.0])) for y in (6.0, 3.0)]
    intrinsics = np.array([[4.0, 0, 2], [0, 4, 2], [0, 0, 1]])
    depth, normals, label = render_depth(balls, intrinsics, rotation, -rotation @ center, 5, 5)
    assert label[2, 2] == 1
    assert depth[2, 2] == pytest.approx(2.5)
    np.testing.assert_allclose(normals[2, 2], [0, 0, -1], atol=1e-6)
    # Above the horizon nothing; the lowest row looks down by (4 - 2) / 4, to the floor at a depth of 1 / 0.5.
    assert np.isinf(depth[:2]).all()
    np.testing.assert_allclose(depth[4], 2)
    np.testing.assert_array_equal(label[4], 2)
    np.testing.assert_allclose(normals[4], np.tile([0, -1, 0], (5, 1)), atol=1e-12)
