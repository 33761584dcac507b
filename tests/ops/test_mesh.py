"""Mesh operations on meshes whose areas, volumes and topology are known."""

import chex
import jax
import numpy as np
import pytest

from dlcore import ops

CUBE = np.array([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)], np.float32)
QUADS = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
CUBE_FACES = np.array([t for a, b, c, d in QUADS for t in ((a, b, c), (a, c, d))], np.int32)


def torus(n=8, m=6, radius=1.0, tube=0.4):
    u, v = np.meshgrid(np.arange(n), np.arange(m), indexing="ij")
    a, b = 2 * np.pi * u / n, 2 * np.pi * v / m
    ring = radius + tube * np.cos(b)
    vertices = np.stack([ring * np.cos(a), ring * np.sin(a), tube * np.sin(b)], -1).reshape(-1, 3)

    def at(i, j):
        return (i % n * m + j % m).reshape(-1)

    corners = at(u, v), at(u + 1, v), at(u + 1, v + 1), at(u, v + 1)
    faces = np.concatenate([np.stack([corners[i] for i in t], 1) for t in ((0, 1, 2), (0, 2, 3))])
    return vertices.astype(np.float32), faces.astype(np.int32)


@pytest.mark.parametrize("scale", [1e-12, 1, 1e12])
def test_areas_and_normals_have_no_scale(scale):
    """A right triangle with the legs 3 and 4, such as a molecule's in meters."""
    triangle, faces = np.float32([[0, 0, 0], [3, 0, 0], [0, 4, 0]]) * np.float32(scale), np.array([[0, 1, 2]])
    np.testing.assert_allclose(ops.face_areas(triangle, faces) / np.float32(scale) / np.float32(scale), [6], rtol=1e-5)
    np.testing.assert_allclose(ops.face_normals(triangle, faces), [[0, 0, 1]], rtol=1e-6)
    np.testing.assert_allclose(ops.vertex_normals(triangle, faces), [[0, 0, 1]] * 3, rtol=1e-6)


def measured(measures):
    """Measures of meshes whose numbers are known, and checked; one program computes them all."""
    return jax.device_get(jax.jit(measures)())


def test_a_cube_has_the_measures_of_a_cube():
    assert ops.is_closed(CUBE_FACES)
    areas, volume, elsewhere, inside_out, normals = measured(
        lambda: (
            ops.face_areas(CUBE, CUBE_FACES),
            ops.mesh_volume(CUBE, CUBE_FACES),
            ops.mesh_volume(CUBE + 5, CUBE_FACES),
            ops.mesh_volume(CUBE, CUBE_FACES[:, ::-1]),
            ops.face_normals(CUBE, CUBE_FACES),
        )
    )
    np.testing.assert_allclose(areas, 0.5)  # 12 halves of unit squares
    assert float(volume) == pytest.approx(1)
    assert float(elsewhere) == pytest.approx(1, abs=1e-4)  # wherever it stands
    assert float(inside_out) == pytest.approx(-1)
    # 8 vertices, 12 edges of the cube and 6 diagonals, 12 faces: 8 - 18 + 12 = 2; every edge is between two faces.
    assert len(ops.mesh_edges(CUBE_FACES)) == len(ops.adjacent_faces(CUBE_FACES)) == 18
    assert ops.euler_characteristic(CUBE_FACES) == 2
    outward = (normals * (CUBE[CUBE_FACES].mean(1) - 0.5)).sum(-1)
    np.testing.assert_allclose(outward, 0.5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [1e2, 1e4, [-3e5, 4e6, 7]])
def test_a_mesh_far_from_the_origin_has_the_measures_of_its_vertices(dtype, offset):
    """Of the same vertices in float64, seen from their mean; those of map coordinates are not collapsed by the cast."""
    vertices, faces = ops.icosphere(1, radius=100 if dtype == np.float32 else 0.01)
    far = (vertices + np.array(offset)).astype(dtype)
    a, b, c = (far.astype(np.float64)[faces[:, k]] - far.astype(np.float64).mean(0) for k in range(3))
    normals = np.cross(b - a, c - a)
    areas = np.linalg.norm(normals, axis=1) / 2
    volume = (a * normals).sum() / 6
    assert float(ops.mesh_volume(far, faces)) == pytest.approx(volume, rel=1e-5)
    np.testing.assert_allclose(ops.face_areas(far, faces), areas, rtol=1e-4)
    np.testing.assert_allclose(ops.face_normals(far, faces), normals / areas[:, None] / 2, atol=1e-4)
    points, sampled, face = ops.sample_mesh(jax.random.key(0), far, faces, 20)
    away = np.abs(((points - far.astype(np.float64).mean(0) - a[face]) * normals[face]).sum(1)) / areas[face] / 2
    np.testing.assert_allclose(away, 0, atol=1e-6 if dtype == np.float64 else 1)  # from the plane of their face
    np.testing.assert_allclose(sampled, (normals / areas[:, None] / 2)[face], atol=1e-4)
    edges = ops.mesh_edges(faces)
    neighbors = [np.concatenate([edges[edges[:, 0] == i, 1], edges[edges[:, 1] == i, 0]]) for i in range(len(far))]
    wide = far.astype(np.float64)
    expected = [wide[n].mean(0) - wide[i] for i, n in enumerate(neighbors)]
    np.testing.assert_allclose(ops.mesh_laplacian(far, edges), expected, atol=1e-5 * float(np.abs(expected).max()))


def test_an_icosphere_is_a_sphere():
    vertices, faces = ops.icosphere(3, radius=2.0)
    # V = 10 4^3 + 2, F = 20 4^3; the polyhedron is a little smaller than the sphere of 4/3 pi r^3 and 4 pi r^2.
    assert (vertices.shape, faces.shape) == ((642, 3), (1280, 3))
    assert ops.euler_characteristic(faces) == 2
    assert ops.is_closed(faces)
    volume, area, normals = measured(
        lambda: (
            ops.mesh_volume(vertices, faces),
            ops.face_areas(vertices, faces).sum(),
            ops.vertex_normals(vertices, faces),
        )
    )
    assert float(volume) == pytest.approx(4 / 3 * np.pi * 8, rel=0.01)
    assert float(area) == pytest.approx(16 * np.pi, rel=0.01)
    np.testing.assert_allclose(normals, vertices / 2, atol=0.02)
    chex.assert_shape(ops.icosphere(0)[0], (12, 3))


def test_a_torus_has_an_euler_characteristic_of_zero():
    vertices, faces = torus()
    assert ops.euler_characteristic(faces) == 0
    both = np.concatenate([faces, CUBE_FACES + len(vertices)])
    assert ops.euler_characteristic(both) == 2  # parts add
    assert ops.is_closed(both)
    # Pappus: 2 pi R pi r^2 for the smooth torus; 8 x 6 polygons hold the areas' shares of both circles.
    share = 6 / (2 * np.pi) * np.sin(2 * np.pi / 6) * 8 / (2 * np.pi) * np.sin(2 * np.pi / 8)
    volume = measured(lambda: ops.mesh_volume(vertices, faces))
    assert abs(float(volume)) == pytest.approx(2 * np.pi**2 * 0.16 * share, rel=0.01)


def test_the_laplacian_is_the_mean_of_the_neighbors_minus_the_vertex():
    # A path 0 - 1 - 2 at 0, 1, 5 and a lone vertex: 1 - 0 = 1, (0 + 5) / 2 - 1 = 1.5, 1 - 5 = -4, 0.
    x, laplacian = np.float32([[0], [1], [5], [9]]), jax.jit(ops.mesh_laplacian)
    edges = np.array([[0, 1], [1, 2]])
    np.testing.assert_allclose(laplacian(x, edges), [[1], [1.5], [-4], [0]])
    # Without the second edge, vertex 1 has the neighbor 0 alone.
    np.testing.assert_allclose(laplacian(x, edges, np.array([1, 0])), [[1], [-1], [0], [0]])


@pytest.mark.covers("TD-11")
def test_sampling_is_weighted_by_area():
    # Triangles of area 1/2 and 3/2 in the planes z = 0 and z = 1: a quarter of the points has z = 0.
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [3, 0, 1], [0, 1, 1]], np.float32)
    faces = np.array([[0, 1, 2], [3, 4, 5]], np.int32)
    sample = jax.jit(ops.sample_mesh, static_argnums=3)
    points, normals, face = jax.device_get(sample(jax.random.key(0), vertices, faces, 4000))
    assert float((face == 0).mean()) == pytest.approx(0.25, abs=0.03)  # 4 deviations of √(.25 .75 / 4000) = .007
    np.testing.assert_allclose(points[:, 2], face, atol=1e-6)
    np.testing.assert_allclose(normals, np.broadcast_to([0, 0, 1], (4000, 3)), atol=1e-6)
    # Uniform in the triangle: the mean is its centroid, (1, 1/3), and x/3 + y <= 1.
    large = np.asarray(points[face == 1])
    np.testing.assert_allclose(large.mean(0), [1, 1 / 3, 1], atol=0.06)
    assert (large[:, 0] / 3 + large[:, 1]).max() <= 1 + 1e-5
    masked = sample(jax.random.key(0), vertices, faces, 100, np.array([1, 0]))[2]
    assert int(masked.max()) == 0


def test_samples_have_the_gradient_of_their_vertices():
    # The three weights of a sample add to 1, so moving all vertices moves the sample as far.
    faces = np.array([[0, 1, 2]], np.int32)

    def height(vertices):
        return ops.sample_mesh(jax.random.key(1), vertices, faces, 8)[0][:, 2].mean()

    gradient = jax.jit(jax.grad(height))(np.eye(3, dtype=np.float32))
    np.testing.assert_allclose(gradient[:, 2].sum(), 1, rtol=1e-6)
    np.testing.assert_array_equal(gradient[:, :2], 0)


def test_subdivision_keeps_a_surface_and_names_its_midpoints():
    vertices, faces, edges = ops.subdivide_mesh(CUBE, CUBE_FACES)
    assert (len(vertices), len(faces)) == (8 + 18, 4 * 12)
    np.testing.assert_allclose(vertices[8:], CUBE[edges].mean(1))
    assert ops.is_closed(faces)
    assert float(measured(lambda: ops.mesh_volume(vertices, faces))) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize(
    ("vertices", "faces", "words"),
    [
        (CUBE, CUBE_FACES[1:], r"faces: no closed mesh, edge \(0, 3\) has one face; allowed: closed meshes"),
        (CUBE, np.array([[0, 1, 8]]), r"faces\[0, 2\]=8: out of range; allowed: 0 to 7, of 8 vertices"),
        (CUBE, np.array([[0, -1, 2]]), r"faces\[0, 1\]=-1: out of range"),
        (np.where(CUBE == 1, np.nan, CUBE), CUBE_FACES, r"vertices\[1, 2\]=nan: not finite"),
        (CUBE[:, :2], CUBE_FACES, r"vertices=float32\[8, 2\]: no vertices of a triangle mesh; allowed: \[V, 3\]"),
        (CUBE, CUBE_FACES.astype(float), r"faces=float64\[12, 3\]: no faces of a triangle mesh; allowed: \[F, 3\]"),
    ],
)
def test_a_bad_mesh_is_one_clear_line(vertices, faces, words):
    with pytest.raises(ValueError, match=words) as error:
        ops.mesh_volume(vertices, faces)
    assert "\n" not in str(error.value)


def test_other_bad_input():
    flipped = CUBE_FACES.copy()
    flipped[0] = flipped[0, ::-1]
    with pytest.raises(ValueError, match="has two faces of opposite orientation"):
        ops.check_mesh(CUBE, flipped, closed=True)
    with pytest.raises(ValueError, match="three faces or more"):
        ops.adjacent_faces(np.array([[0, 1, 2], [0, 1, 3], [0, 1, 4]]))
    line = np.float32([[1, 1, 0], [2, 1, 0], [3, 1, 0]])
    with pytest.raises(ValueError, match="no face has an area"):
        ops.sample_mesh(jax.random.key(0), line, np.array([[0, 1, 2]]), 4)
    one = jax.eval_shape(lambda v: ops.sample_mesh(jax.random.key(0), v, CUBE_FACES, 1), CUBE)
    assert [x.shape for x in one] == [(1, 3), (1, 3), (1,)]
    with pytest.raises(ValueError, match="count=0: no points"):
        ops.sample_mesh(jax.random.key(0), CUBE, CUBE_FACES, 0)


# A right triangle of 3 by 4, one of 3 by 12 upright on its first side, a face that is a line, and a lone vertex.
BENT = np.array([[0, 0, 0], [3, 0, 0], [0, 4, 0], [0, 0, 12], [6, 0, 0], [7, 7, 7]], np.float32)
BENT_FACES = np.array([[0, 1, 2], [0, 3, 1], [0, 1, 4]], np.int32)


def test_areas_and_normals_of_unequal_faces_by_hand():
    @jax.jit
    def call(vertices):
        return (
            ops.face_areas(vertices, BENT_FACES),
            ops.face_normals(vertices, BENT_FACES),
            ops.vertex_normals(vertices, BENT_FACES),
            jax.grad(lambda v: ops.face_areas(v, BENT_FACES).sum() + ops.face_normals(v, BENT_FACES).sum())(vertices),
        )

    areas, normals, of_vertices, gradient = call(BENT)
    np.testing.assert_allclose(areas, [6, 18, 0])
    np.testing.assert_allclose(normals, [[0, 0, 1], [0, 1, 0], [0, 0, 0]])
    shared = np.array([0, 3, 1]) / 10**0.5
    np.testing.assert_allclose(of_vertices, [shared, shared, [0, 0, 1], [0, 1, 0], [0] * 3, [0] * 3], atol=1e-6)
    assert np.isfinite(gradient).all()


def test_edges_and_pairs_of_faces_by_hand():
    faces = np.array([[2, 0, 1], [1, 3, 2], [4, 3, 1]])
    np.testing.assert_array_equal(ops.mesh_edges(faces), [[0, 1], [0, 2], [1, 2], [1, 3], [1, 4], [2, 3], [3, 4]])
    np.testing.assert_array_equal(ops.adjacent_faces(faces), [[0, 1], [1, 2]])
    assert ops.euler_characteristic(faces) == 5 - 7 + 3
    assert not ops.is_closed(faces)
    assert not ops.is_closed(np.zeros((2, 4), int))
    assert ops.is_closed(np.zeros((0, 3), int))
    vertices, split, edges = ops.subdivide_mesh(np.arange(10.0).reshape(5, 2) ** 2, faces[:1])
    np.testing.assert_array_equal(edges, [[0, 1], [0, 2], [1, 2]])
    np.testing.assert_array_equal(vertices[5:], [[2, 5], [8, 13], [10, 17]])
    # Corners 2, 0, 1; the midpoints of (2, 0), (0, 1), (1, 2) are 6, 5, 7.
    np.testing.assert_array_equal(split, [[2, 6, 7], [6, 0, 5], [7, 5, 1], [6, 5, 7]])
    thrice = np.array([[0, 1, 2], [1, 0, 3], [1, 0, 4]])
    with pytest.raises(ValueError, match=r"edge \(0, 1\) has three faces or more; allowed: at most two"):
        ops.adjacent_faces(thrice)


@pytest.mark.slow
def test_spheres_and_samples_at_their_limits():
    vertices, faces = ops.icosphere(0, 0.5)
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 0.5, rtol=1e-6)
    assert (ops.euler_characteristic(faces), len(faces)) == (2, 20)
    assert np.unique(np.round(np.linalg.norm(vertices[faces[:, 0]] - vertices[faces[:, 1]], axis=1), 5)).size == 1
    assert (np.linalg.det(vertices[faces].astype(float)) > 0).all()
    for arguments, message in (((1, 0.0), "radius=0: out of range"), ((1, -1.0), "radius"), ((1, np.inf), "radius")):
        with pytest.raises(ValueError, match=message):
            ops.icosphere(*arguments)
    key, masks = jax.random.key(0), (np.ones(2), np.array([0, 0, 1]))
    for mask, message in zip(masks, (r"face_mask.shape=\(2,\): does not fit", "no face has an area"), strict=True):
        with pytest.raises(ValueError, match=message):
            ops.sample_mesh(key, BENT, BENT_FACES, 4, mask)
    with pytest.raises(ValueError, match="faces: there are none"):
        ops.sample_mesh(key, BENT, BENT_FACES[:0], 4)
    # One face alone, whose sides are 12 along z and 3 along x: its normal is y.
    points, normals, face = jax.device_get(ops.sample_mesh(key, BENT, BENT_FACES, 200, np.array([0, 2, 0])))
    np.testing.assert_array_equal(face, 1)
    np.testing.assert_array_equal(normals, [[0, 1, 0]] * 200)
    assert points.min() >= 0
    assert (points[:, 0] / 3 + points[:, 2] / 12).max() <= 1 + 1e-6
    np.testing.assert_allclose(points.mean(0), [1, 0, 4], atol=0.8)  # 4 deviations of 12 / 18^.5 / 200^.5
    for edges, mask, message in (
        ([[0, 1]], np.ones(2), r"edge_mask.shape=\(2,\): does not fit edges; allowed: \(1,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            ops.mesh_laplacian(BENT, np.array(edges), mask)


def test_meshes_may_be_lists():
    vertices, faces = [[0.0, 0, 0], [3, 0, 0], [0, 4, 0], [0, 0, 12]], [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]
    np.testing.assert_allclose(ops.face_areas(vertices, faces)[:3], [6, 18, 24])
    np.testing.assert_allclose(ops.mesh_laplacian(vertices, [[0, 1], [0, 2]])[0], [1.5, 2, 0])
    assert (ops.sample_mesh(jax.random.key(0), vertices, faces, 4, [0, 1, 0, 0])[2] == 1).all()
