"""Chamfer distance and F1 of point sets by hand, against scipy's golden, and at the corners."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.metrics import chamfer_distance, point_f1
from dlcore.metrics.point_sets import nearest_squared_distances


def line(*x):
    return jnp.asarray([[v, 0.0, 0.0] for v in x])


@pytest.mark.covers("ME-07")
def test_the_worked_example():
    # 0 is in both; 1 is 1 from 0 and 2, and 2 is 1 from 1: 1 + 1 = 2, or 1/2 + 1/2 = 1.
    p, q = line(0, 1), line(0, 2)
    assert float(chamfer_distance(p, q, "sum")) == 2.0
    assert float(chamfer_distance(p, q, "mean")) == 1.0
    assert float(chamfer_distance(p, q)) == 1.0
    alone = jax.jit(lambda p, q: (chamfer_distance(p, q), point_f1(p, q, 2.0)["f1"]))(line(0), line(2))
    assert [float(x) for x in alone] == [4 + 4, 1]


@pytest.mark.covers("ME-07")
def test_equals_the_golden():
    with np.load("tests/goldens/ml_sklearn.npz") as golden, jax.enable_x64(True):
        p, q = (jnp.asarray(golden[f"chamfer/in.{n}"]) for n in "PQ")
        assert float(chamfer_distance(p, q)) == pytest.approx(float(golden["chamfer/out.squared"]), rel=1e-10)
        for got, name in zip(nearest_squared_distances(p, q), ("d1", "d2"), strict=True):
            np.testing.assert_allclose(np.sqrt(got), golden[f"chamfer/out.{name}"], rtol=1e-10)


@pytest.mark.slow
@pytest.mark.covers("ME-07")
def test_zero_for_the_same_set_in_any_order_and_only_there():
    p = jnp.asarray(np.random.default_rng(0).normal(size=(9, 3)) + 100, jnp.float32)
    assert float(chamfer_distance(p, p[::-1])) == 0
    assert float(chamfer_distance(p, jnp.concatenate([p, p[:2]]), "sum")) == 0  # sets: copies do not count
    assert float(chamfer_distance(p, p.at[3, 1].add(0.01))) > 0
    assert float(chamfer_distance(p, p[:4])) > 0


@pytest.mark.covers("ME-08")
def test_f1_of_the_worked_example():
    p, q = line(0, 1), line(0, 2)
    near, far = point_f1(p, q, 0.5), point_f1(p, q, 1.0)
    assert {k: float(v) for k, v in near.items()} == {"precision": 0.5, "recall": 0.5, "f1": 0.5}
    assert float(far["f1"]) == 1.0  # within means at most t


@pytest.mark.covers("ME-08")
def test_f1_tells_precision_from_recall():
    # Of 0, 1, 9 and 20 only 0 is within .5 of 0 or 2: 1/4; of 0 and 2 one has a point within .5: 1/2.
    # F1 = 2 (1/4) (1/2) / (3/4) = 1/3.
    found = {k: float(v) for k, v in point_f1(line(0, 1, 9, 20), line(0, 2), 0.5).items()}
    assert found == pytest.approx({"precision": 1 / 4, "recall": 1 / 2, "f1": 1 / 3})
    back = point_f1(line(0, 2), line(0, 1, 9, 20), 0.5)
    assert (float(back["precision"]), float(back["recall"])) == (0.5, 0.25)


@pytest.mark.covers("ME-07", "ME-08")
def test_points_of_mask_0_do_not_count_by_numpy():
    rng = np.random.default_rng(0)
    p, q = rng.normal(size=(5, 3)).astype(np.float32), rng.normal(size=(4, 3)).astype(np.float32)
    p_mask, q_mask = np.array([1, 0, 1, 1, 2]), np.array([0, 1, 1, 1])
    squares = np.square(p[p_mask > 0][:, None] - q[1:]).sum(-1)  # [4, 3]
    to_q, to_p = squares.min(1), squares.min(0)
    reach = np.sqrt(np.median(to_q))

    @jax.jit
    def measures(p, q, p_mask, q_mask):
        distances = [chamfer_distance(p, q, how, p_mask, q_mask) for how in ("mean", "sum")]
        return distances, point_f1(p, q, reach, p_mask, q_mask), nearest_squared_distances(p, q, p_mask, q_mask)

    (mean, total), shares, nearest = measures(p, q, p_mask, q_mask)
    np.testing.assert_allclose([mean, total], [to_q.mean() + to_p.mean(), to_q.sum() + to_p.sum()], rtol=1e-6)
    np.testing.assert_allclose(nearest[0], [to_q[0], 0, *to_q[1:]], rtol=1e-6)
    np.testing.assert_allclose(nearest[1], [0, *to_p], rtol=1e-6)
    precision, recall = (to_q <= reach**2).mean(), (to_p <= reach**2).mean()
    np.testing.assert_allclose([shares["precision"], shares["recall"]], [precision, recall], rtol=1e-6)
    (mean, _), shares, nearest = measures(p, q, 0 * p_mask, q_mask)
    assert (mean, shares["f1"], shares["recall"]) == (np.inf, 0, 0)
    np.testing.assert_array_equal(nearest[1], [0, np.inf, np.inf, np.inf])


@pytest.mark.covers("ME-08")
def test_an_outlier_moves_f1_little_and_the_distance_much():
    p = np.random.default_rng(0).uniform(size=(50, 3)).astype(np.float32)
    off = np.concatenate([p, np.full((1, 3), 100, np.float32)])
    measures, distance = jax.jit(lambda a, b: (point_f1(a, b, 0.01), chamfer_distance(a, b)))(off, p)
    assert float(measures["f1"]) > 0.98
    assert float(distance) > 100


@pytest.mark.slow
def test_masked_points_are_not_there():
    p, q, mask = line(0, 1, 50), line(0, 2), jnp.asarray([1, 1, 0])
    for reduction in ("sum", "mean"):
        assert float(chamfer_distance(p, q, reduction, mask)) == float(chamfer_distance(p[:2], q, reduction))
        assert float(chamfer_distance(q, p, reduction, None, mask)) == float(chamfer_distance(p[:2], q, reduction))
    assert float(point_f1(p, q, 0.5, mask)["f1"]) == 0.5
    empty = jnp.zeros(2)
    assert float(chamfer_distance(p[:2], q, p_mask=empty, q_mask=empty)) == 0
    assert jnp.isinf(chamfer_distance(p[:2], q, p_mask=empty))
    assert float(point_f1(p[:2], q, 0.5, empty, empty)["f1"]) == 0
    assert float(chamfer_distance(jnp.zeros((0, 3)), jnp.zeros((0, 3)))) == 0
