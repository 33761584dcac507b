"""Losses of point sets and meshes by hand, and against the metric."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import losses, ops
from dlcore.metrics import chamfer_distance


def line(*x):
    return np.array([[v, 0.0, 0.0] for v in x], np.float32)


def test_chamfer_by_hand():
    # {0, 1} to {0, 3}: squares 0 and 1, mean 0.5. Back: 0 and (3 - 1)² = 4, mean 2. Rooted: 0.5 and 1.
    p, q = line(0, 1), line(0, 3)
    plain = jax.jit(lambda p, q: (losses.chamfer_loss(p, q), losses.chamfer_loss(p, q, squared=False)))
    assert [float(loss) for loss in plain(p, q)] == [2.5, 1.5]
    # Of q only 3 counts: 9 and 4 -> 6.5, and 3 is 2 from 1 -> 4.
    masked = jax.jit(lambda p, q, mask: losses.chamfer_loss(p, q, q_mask=mask))
    assert float(masked(p, q, np.array([0, 1]))) == 10.5
    assert float(masked(p, q, np.array([0, 0]))) == 0


def test_chamfer_equals_the_metric_and_has_its_gradient():
    rng = np.random.default_rng(0)
    p, q = (rng.normal(size=(2, n, 3)).astype(np.float32) for n in (9, 7))
    mask = rng.integers(0, 2, (2, 9))
    mask[:, 0] = 1

    @jax.jit
    def both(p):
        mine = jax.value_and_grad(lambda p: losses.chamfer_loss(p, q, mask).sum())(p)
        metric = jax.vmap(lambda p, q, m: chamfer_distance(p, q, p_mask=m))
        equal = jax.grad(lambda p: losses.chamfer_loss(p, p, squared=False))(p[0])
        return mine, jax.value_and_grad(lambda p: metric(p, q, mask).sum())(p), equal

    (value, gradient), (expected, expected_gradient), equal = both(p)
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-5)
    np.testing.assert_array_equal(equal, 0)  # the root has no slope at 0


def test_normals_of_nearest_points():
    # Nearest pairs have the normals x·x = 1, x·(-x) = -1 -> 0 and 0; x·y = 0 -> 1: mean 1/3 each way.
    p = line(0, 5, 10)
    n = np.float32([[1, 0, 0]] * 3)
    m = np.float32([[1, 0, 0], [-1, 0, 0], [0, 1, 0]])
    assert float(jax.jit(losses.chamfer_normal_loss)(p, p + np.float32(0.1), n, m)) == pytest.approx(2 / 3)


def test_masked_sets_of_other_sizes_by_numpy():
    rng = np.random.default_rng(0)
    p, n, q, m = (rng.normal(size=(k, 3)).astype(np.float32) for k in (5, 5, 4, 4))
    n, m = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (n, m))
    p_mask, q_mask = np.array([1, 0, 1, 1, 2]), np.array([0, 1, 1, 1])
    kept = [x[mask > 0] for x, mask in ((p, p_mask), (n, p_mask), (q, q_mask), (m, q_mask))]
    squares = np.square(kept[0][:, None] - kept[2]).sum(-1)
    cosines = np.abs(kept[1] @ kept[3].T)
    nearest = squares.argmin(1), squares.argmin(0)
    normals = (1 - cosines[np.arange(4), nearest[0]]).mean() + (1 - cosines[nearest[1], np.arange(3)]).mean()
    p[1], q[0], n[1], m[0] = np.nan, np.nan, np.nan, np.nan

    @jax.jit
    def run(p, q, n, m, p_mask, q_mask):
        chamfer = [losses.chamfer_loss(p, q, p_mask, q_mask, squared) for squared in (True, False)]
        return *chamfer, losses.chamfer_normal_loss(p, q, n, m, p_mask, q_mask)

    expected = [f(squares.min(1)).mean() + f(squares.min(0)).mean() for f in (np.asarray, np.sqrt)]
    np.testing.assert_allclose(run(p, q, n, m, p_mask, q_mask), [*expected, normals], rtol=1e-5)
    np.testing.assert_array_equal(run(p, q, n, m, 0 * p_mask, q_mask), 0)


VERTICES = jnp.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
FACES = np.array([[0, 1, 2], [0, 2, 3]])
"""Two right triangles of the unit square."""
EDGES, PAIRS = ops.mesh_edges(FACES), ops.adjacent_faces(FACES)


def test_edge_lengths_and_the_laplacian_by_hand():
    run = jax.jit(lambda v: (losses.edge_length_loss(v, EDGES), losses.laplacian_loss(v, EDGES)))
    length, laplacian = run(VERTICES)
    # Four edges of length 1 and a diagonal of √2: (4 + 2) / 5.
    assert float(length) == pytest.approx(1.2)
    # Vertex 0 has the neighbors 1, 2, 3 with mean (2/3, 2/3): √(8/9). Vertex 1 has 0 and 2, mean (.5, .5): √.5.
    # The other two are their mirror images.
    expected = (2 * np.sqrt(8 / 9) + 2 * np.sqrt(0.5)) / 4
    assert float(laplacian) == pytest.approx(expected)


def test_edges_and_pairs_of_mask_0_do_not_count():
    corners = VERTICES.at[3].set(jnp.array([0.5, 0.5, 1.0]))
    pairs, edges = np.concatenate([PAIRS, [[0, 0]]]), np.array([[0, 1], [0, 2], [1, 3]])

    @jax.jit
    def run(v, pair_mask, edge_mask):
        consistency = losses.normal_consistency_loss(v, FACES, pairs, pair_mask)
        return consistency, losses.edge_length_loss(v, edges, edge_mask), losses.laplacian_loss(v, edges, edge_mask)

    # A face beside itself costs 0: of both pairs the mean is 1/2. Edges of length 1 and sqrt(2): squares 1.5. The mean
    # of vertex 0's neighbors is (1, .5, 0); 1 and 2 have vertex 0 alone, at 1 and sqrt(2); 3 has no neighbor.
    for pair_mask, consistency in (([1, 1], 1 / 2), ([1, 0], 1)):
        found = run(corners, np.array(pair_mask), np.array([1, 1, 0]))
        laplacian = (np.sqrt(1 + 0.25) + 1 + np.sqrt(2)) / 4
        np.testing.assert_allclose(found, [consistency, 1.5, laplacian], rtol=1e-6)


def test_normal_consistency_by_hand():
    # Flat: 1 - cos 0 = 0. With corner 3 above the diagonal its face is vertical: 1 - cos 90° = 1.
    meshes = jnp.stack([VERTICES, VERTICES.at[3].set(jnp.array([0.5, 0.5, 1.0]))])
    got = jax.jit(losses.normal_consistency_loss)(meshes + np.float32([2, -3, 5]), FACES, PAIRS)  # wherever it stands
    np.testing.assert_allclose(got, [0, 1], atol=1e-6)


def test_edges_of_bytes_do_not_wrap():
    vertices = np.array([[200, 0, 0], [0, 0, 0]], np.uint8)
    for edges in ([[0, 1]], [[1, 0]]):
        assert losses.edge_length_loss(vertices, np.array(edges)) == 40_000
