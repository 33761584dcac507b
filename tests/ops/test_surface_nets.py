"""Surface nets: a sphere's mesh is closed, with its volume and characteristic; known vertices; bad grids."""

import numpy as np
import pytest

from dlcore.ops.mesh import check_mesh, euler_characteristic
from dlcore.ops.surface_nets import surface_nets


def test_one_corner_inside_gives_an_octahedron_like_cube():
    values = np.full((3, 3, 3), -1.0)
    values[1, 1, 1] = 1
    vertices, faces = surface_nets(values)
    # Each of the 8 cells has three crossings, half a step from the corner (1, 1, 1): their mean is 1 -+ 1/6.
    np.testing.assert_allclose(np.unique(vertices), [5 / 6, 7 / 6], rtol=1e-6)
    assert len(vertices) == 8
    assert len(faces) == 12
    assert euler_characteristic(faces) == 2
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    assert (a * np.cross(b, c)).sum() / 6 == pytest.approx((1 / 3) ** 3, rel=1e-5)  # outward


@pytest.mark.parametrize(("shape", "euler", "volume"), [("ball", 2, 4.18879), ("torus", 0, 2 * np.pi**2 * 0.8 * 0.09)])
def test_meshes_are_closed_with_the_right_characteristic(shape, euler, volume):
    along = np.linspace(-1.25, 1.25, 41)
    x, y, z = np.meshgrid(along, along, along, indexing="ij")
    field = 1 - np.sqrt(x**2 + y**2 + z**2) if shape == "ball" else 0.3 - np.hypot(np.hypot(x, y) - 0.8, z)
    vertices, faces = surface_nets(field)
    check_mesh(vertices, faces, closed=True)
    assert euler_characteristic(faces) == euler
    a, b, c = (vertices[faces[:, k]] * 2.5 / 40 for k in range(3))
    assert (a * np.cross(b, c)).sum() / 6 == pytest.approx(volume, rel=0.03)


def test_bad_grids_are_one_clear_line():
    values = np.full((3, 3, 3), -1.0)
    assert [len(part) for part in surface_nets(values)] == [0, 0]
    values[0, 1, 1] = 1
    with pytest.raises(ValueError, match="the mesh would be open; allowed: at most"):
        surface_nets(values)
    assert len(surface_nets(values, closed=False)[1])
    values[1, 1, 1] = np.nan
    with pytest.raises(ValueError, match="values"):
        surface_nets(values)
    for shape in ((3, 3), (1, 3, 3), (3, 3, 1)):
        with pytest.raises(ValueError, match="no grid; allowed"):
            surface_nets(np.zeros(shape))
    # One cell whose corner (0, 0, 0) is inside: three edges are crossed in the middle, and no face has four cells.
    vertices, faces = surface_nets(np.where(np.arange(8) == 0, 1.0, -1.0).reshape(2, 2, 2), closed=False)
    np.testing.assert_allclose(vertices, [[1 / 6] * 3])
    assert faces.shape == (0, 3)


def test_vertices_and_faces_of_any_grid_equal_a_loop():
    """A vertex a cell: the mean of where its twelve edges cross; a quadrilateral of cells around each edge inside."""
    values, level = np.random.default_rng(0).normal(size=(4, 3, 5)), 0.2
    vertices, faces = surface_nets(values, level, closed=False)
    cells, want = [], []
    for cell in np.ndindex(3, 2, 4):
        points = []
        for axis in range(3):
            for offset in np.ndindex(*(1 if a == axis else 2 for a in range(3))):
                low = np.add(cell, offset)
                high = low + (np.arange(3) == axis)
                a, b = values[tuple(low)], values[tuple(high)]
                if (a > level) != (b > level):
                    points.append(low + (high - low) * (level - a) / (b - a))
        if points:
            cells.append(cell)
            want.append(np.mean(points, 0))
    np.testing.assert_allclose(vertices, want, atol=1e-5)
    found = {frozenset(faces[k]) | frozenset(faces[k + len(faces) // 2]) for k in range(len(faces) // 2)}
    quads = set()
    for axis in range(3):
        others = [a for a in range(3) if a != axis]
        for low in np.ndindex(*(n - (a == axis) for a, n in enumerate(values.shape))):
            around = [
                np.subtract(low, [i * (a == others[0]) + j * (a == others[1]) for a in range(3)])
                for i, j in np.ndindex(2, 2)
            ]
            crosses = (values[low] > level) != (values[tuple(low + (np.arange(3) == axis))] > level)
            if crosses and all((c >= 0).all() and (c < (3, 2, 4)).all() for c in around):
                quads.add(frozenset(cells.index(tuple(map(int, c))) for c in around))
    assert found == quads
    # Of the middles of cells, each normal points from the corner inside to the one outside.
    for face in faces:
        a, b, c = (np.array(cells[k]) for k in face)
        normal = np.cross(b - a, c - a)
        (axis,) = np.flatnonzero(normal)
        corner = np.max([a, b, c], 0)  # the first corner of the edge that the cells lie around
        corner[axis] = a[axis]
        assert (values[tuple(corner)] > level) == (normal[axis] > 0)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.uint16, np.int64, np.float16, np.float64])
def test_a_surface_is_that_of_the_same_numbers_as_float32(dtype):
    """Of a soft ball of radius 4 in 0 to 120, and of its occupancy, whose vertices lie half a step from it at most."""
    grid = np.stack(np.meshgrid(*[np.arange(12) - 5.5] * 3, indexing="ij"), -1)
    radius = np.linalg.norm(grid, axis=-1)
    soft = np.round(120 / (1 + np.exp(2 * (radius - 4))))
    for values, level, reach in ((radius < 4, 0.5, 0.5), (soft, 60.0, 0.5 if dtype is bool else 0.1)):
        values = values > level if dtype is bool else values.astype(dtype)
        level = 0.5 if dtype is bool else level
        vertices, faces = surface_nets(values, level)
        expected = surface_nets(values.astype(np.float32), level)
        np.testing.assert_array_equal(vertices, expected[0])
        np.testing.assert_array_equal(faces, expected[1])
        assert np.abs(np.linalg.norm(vertices - 5.5, axis=1) - 4).max() < reach
