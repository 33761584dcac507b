"""What each mistake does to depths and points."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.studies import geometry_metrics as study


def test_each_mistake_of_depth_is_its_own():
    truth = np.full((30, 100), 2.0, np.float32)
    got = jax.tree.map(np.asarray, jax.jit(study.spoiled_depths)(truth, jax.random.key(0)))
    assert set(got) == {"scale", "outliers", "noise", "missing"}
    np.testing.assert_allclose(got["scale"], 2.4, rtol=1e-6)
    far = got["outliers"] == 10
    assert (got["outliers"][~far] == 2).all()
    assert 0.01 < far.mean() < 0.03
    noise = np.log(got["noise"] / 2)
    assert abs(noise.std() - 0.03) < 0.003
    np.testing.assert_array_equal(got["missing"], np.where(np.arange(30)[:, None] < 10, 3.0, 2.0) * np.ones(100))


def test_each_mistake_of_points_is_its_own():
    truth = np.tile(np.array([[1.0, 0, 0]], np.float32), (3000, 1))
    got = jax.tree.map(np.asarray, jax.jit(study.spoiled_points)(truth, jax.random.key(0)))
    np.testing.assert_allclose(got["scale"], 1.2 * truth, rtol=1e-6)
    far = got["outliers"][:, 0] == 3
    assert 0.01 < far.mean() < 0.03
    assert (got["outliers"][~far] == truth[~far]).all()
    assert abs((got["noise"] - truth).std() - 0.05) < 0.005
    assert len(got["missing"]) == 2000


def test_the_shapes_are_a_ball_before_a_wall_and_a_sphere():
    depth = np.asarray(jax.jit(study.depth_scene, static_argnums=0)(33))
    assert depth[16, 16] == 3  # the ball's near side: 4 - 1
    assert depth[0, 0] == 6
    np.testing.assert_allclose(jnp.square(study.sphere(500)).sum(1), 1, rtol=1e-5)
