"""Sliding-window prediction of volumes: starts and weights by hand, windows that tile to the whole, refused input."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.segmentation.sliding_window import gaussian_window, predict_volume, window_starts


def test_windows_start_at_equal_distances_and_end_with_the_volume():
    # depth: 4 - 4 = 0, one window; height: step 4 / 2 = 2, (7 - 4) / 2 -> 2 steps, at 0, 3 / 2 -> 1, 3;
    # width: step 1, (3 - 2) / 1 = 1 step, at 0 and 1.
    expected = [(0, h, w) for h in (0, 1, 3) for w in (0, 1)]
    np.testing.assert_array_equal(window_starts((4, 7, 3), (4, 4, 2)), expected)
    # Without overlap: (8 - 4) / 4 = 1 step.
    np.testing.assert_array_equal(window_starts((8, 1, 1), (4, 1, 1), overlap=0.0), [(0, 0, 0), (4, 0, 0)])
    # A tenth of 20 voxels is 2, which 20 (1 - 0.9) is not quite; a tenth of 3 is no voxel, and a step has one.
    np.testing.assert_array_equal(window_starts((24, 1, 1), (20, 1, 1), overlap=0.9)[:, 0], [0, 2, 4])
    np.testing.assert_array_equal(window_starts((1, 5, 1), (1, 3, 1), overlap=0.9)[:, 1], [0, 1, 2])


def test_gaussian_weights_by_hand():
    # Side 3, sigma 3 * 0.5 = 1.5: exp(-(1 / 1.5)^2 / 2) = exp(-2 / 9) per axis away from the center.
    edge = np.exp(-2 / 9)
    weights = gaussian_window((3, 3, 1), sigma=0.5)
    chex.assert_shape(weights, (3, 3, 1))
    np.testing.assert_allclose(weights[..., 0], np.outer([edge, 1, edge], [edge, 1, edge]), rtol=1e-6)
    # Sigma 3 / 8 by default, and 3 / 10 at least.
    np.testing.assert_allclose(gaussian_window((3, 1, 1))[0, 0, 0], np.exp(-64 / 18), rtol=1e-6)
    np.testing.assert_allclose(gaussian_window((1, 1, 3), 0.1)[0, 0, 0], np.exp(-100 / 18), rtol=1e-6)


@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_a_pointwise_network_gives_the_whole(overlap):
    volume = jax.random.normal(jax.random.key(0), (5, 9, 7, 2))
    predict = lambda x: jnp.stack([x[..., 0] * x[..., 1], x[..., 0], jnp.full(x.shape[:3], 3.0)], -1)  # noqa: E731
    whole = jax.jit(lambda x: predict_volume(predict, x, (4, 4, 3), overlap))(volume)
    np.testing.assert_allclose(whole, predict(volume), atol=1e-5, rtol=1e-5)


def test_the_mean_of_overlapping_windows_is_weighted():
    # Two windows of 3 voxels over 4: the sum of each is its prediction. Windows: 0 + 1 + 2 = 3, and 1 + 2 + 3 = 6.
    # Weights e, 1, e with e = exp(-2 / 9). Voxel 1: (1 * 3 + e * 6) / (1 + e); voxel 2: (e * 3 + 1 * 6) / (1 + e).
    e = np.exp(-2 / 9)
    volume = jnp.arange(4.0).reshape(4, 1, 1, 1)
    means = predict_volume(lambda x: jnp.full_like(x, x.sum()), volume, (3, 1, 1), sigma=0.5)
    np.testing.assert_allclose(means[:, 0, 0, 0], [3, (3 + 6 * e) / (1 + e), (3 * e + 6) / (1 + e), 6], rtol=1e-6)


def test_sizes_that_do_not_fit_are_refused():
    volume = jnp.zeros((4, 4, 4, 1))
    with pytest.raises(
        ValueError, match=r"window=\(5, 2, 2\): does not fit a volume of \(4, 4, 4\); allowed: sides up"
    ):
        predict_volume(jnp.negative, volume, (5, 2, 2))
