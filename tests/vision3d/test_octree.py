"""Oct-trees: trees by hand, round trips, far fewer nodes than voxels, volumes and Euler characteristics; bad grids."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.solids import Solid, occupancy_grid
from dlcore.ops.mesh import check_mesh, euler_characteristic, mesh_volume
from dlcore.vision3d.mesh_rcnn import cubify
from dlcore.vision3d.octree import (
    EMPTY,
    FULL,
    decode_octree,
    encode_octree,
    octree_from_distance,
    octree_leaves,
    octree_occupancy,
)

BALL = Solid("sphere", np.full(3, 0.7))
TORUS = Solid("torus", np.array([0.55, 0.3, 1.0]))
ENCODE = jax.jit(encode_octree, static_argnums=1)
DECODE = jax.jit(decode_octree, static_argnums=1)


def test_a_tree_by_hand():
    # 4³ voxels: the octant x, y, z >= 2 is full, and of octant 0 only the voxel (0, 0, 1), its child 0 4 + 0 2 + 1.
    voxels = np.zeros((4, 4, 4), bool)
    voxels[2:, 2:, 2:] = voxels[0, 0, 1] = True
    expected = [1, 9, *[EMPTY] * 6, FULL, EMPTY, FULL, *[EMPTY] * 6]
    nodes, used = encode_octree(voxels)
    np.testing.assert_array_equal(nodes, expected)
    assert int(used) == 17
    padded, used = ENCODE(voxels, 20)
    np.testing.assert_array_equal(padded, [*expected, *[EMPTY] * 3])
    assert int(used) == 17
    assert int(ENCODE(voxels, 16)[1]) == 17  # more than there is room for
    for full, node in ((False, EMPTY), (True, FULL)):
        assert encode_octree(np.full((4, 4, 4), full))[0].tolist() == [node]
    centers, sides, full = octree_leaves(nodes, half_side=2.0)
    np.testing.assert_array_equal(centers[full], [[1, 1, 1], [-1.5, -1.5, -0.5]])
    np.testing.assert_array_equal(sides[full], [2, 1])
    assert (sides**3).sum() == 4**3
    points = jnp.array([[0.1, 1.9, 0.5], [-1.9, -1.1, -0.9], [-0.9, -1.1, -0.9], [2.1, 1, 1]])
    np.testing.assert_array_equal(jax.jit(octree_occupancy)(nodes, points, 2.0), [True, True, False, False])


@pytest.mark.covers("TD-06")
def test_round_trip_of_random_grids():
    voxels = np.random.default_rng(0).random((3, 8, 8, 8)) < np.array([0.02, 0.5, 0.98]).reshape(3, 1, 1, 1)
    nodes, used = jax.jit(jax.vmap(encode_octree))(voxels)
    chex.assert_shape(nodes, (3, 1 + 8 + 64 + 512))  # the densest tree: every level complete
    assert int(used.max()) <= 585
    np.testing.assert_array_equal(jax.jit(jax.vmap(lambda n: decode_octree(n, 8)))(nodes), voxels)


@pytest.mark.slow(only=["torus"])
@pytest.mark.covers("TD-06")
@pytest.mark.parametrize(
    ("solid", "euler", "volume"),
    [(BALL, 2, 4 / 3 * np.pi * 0.7**3), (TORUS, 0, 2 * np.pi**2 * 0.55 * 0.3**2)],
    ids=["ball", "torus"],
)
def test_a_solid_has_few_nodes_its_volume_and_its_characteristic(solid, euler, volume):
    voxels = occupancy_grid(solid, 16)
    nodes = octree_from_distance(solid.signed_distance, 4)
    np.testing.assert_array_equal(nodes, encode_octree(voxels)[0])  # without the grid, the same tree
    np.testing.assert_array_equal(DECODE(nodes, 16), voxels)
    assert len(nodes) < 16**3 / 2
    _, sides, full = octree_leaves(nodes)
    assert (sides[full] ** 3).sum() == pytest.approx(voxels.sum() / 8**3)
    assert (sides[full] ** 3).sum() == pytest.approx(volume, rel=0.05)
    vertices, faces = cubify(np.asarray(DECODE(nodes, 16), np.float32))
    check_mesh(vertices, faces, closed=True)
    assert euler_characteristic(faces) == euler
    assert float(jax.jit(mesh_volume)(vertices, faces)) == pytest.approx(voxels.sum(), rel=1e-4)  # a cell is 1 wide


@pytest.mark.covers("TD-06")
def test_nodes_grow_with_the_surface_not_with_the_volume():
    counts = [len(octree_from_distance(BALL.signed_distance, depth)) for depth in (4, 5, 6, 7)]
    growth = np.divide(counts[1:], counts[:-1])
    assert (growth > 3).all()
    assert (growth < 5).all()  # a grid grows by 8
    assert counts[-1] < 128**3 / 30


def test_a_tree_of_a_cube_twice_as_wide_is_that_of_a_solid_half_as_large():
    got = octree_from_distance(BALL.signed_distance, 4, half_side=2.0)
    np.testing.assert_array_equal(got, octree_from_distance(Solid("sphere", np.full(3, 0.35)).signed_distance, 4))


def test_cells_that_were_split_for_nothing_become_one_again():
    """A surface .01 away, which no cell contains: all are split down to the voxels, which are alike."""
    for distance, node in ((0.01, EMPTY), (-0.01, FULL), (0.0, FULL)):
        for depth in (3, 0):
            nodes = octree_from_distance(lambda points, d=distance: np.full(len(points), d), depth)
            assert nodes.tolist() == [node]


def test_bad_input_is_one_clear_line():
    voxels = np.zeros((2, 2, 2))
    voxels[0, 0, 0] = 1
    with pytest.raises(ValueError, match="capacity=8: too few nodes; allowed: at least 9"):
        encode_octree(voxels, 8)
