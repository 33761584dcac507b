"""Depth errors of two pixels by hand, the scale that only some see, and images without truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.metrics import depth_errors, depth_metrics


@pytest.mark.covers("ME-13")
def test_two_pixels_by_hand():
    # Truth 1 and 4, predicted 2 and 4; a third pixel has no truth, a fourth is masked.
    result = depth_errors(
        jnp.asarray([[2.0, 4.0, 9.0, 9.0]]), jnp.asarray([[1.0, 4.0, 0.0, 5.0]]), jnp.asarray([[1, 1, 1, 0]])
    )
    log2 = np.log(2)
    want = {
        "abs_rel": (1 / 1 + 0) / 2,
        "sq_rel": (1 / 1 + 0) / 2,
        "rmse": np.sqrt((1 + 0) / 2),
        "rmse_log": np.sqrt(log2**2 / 2),
        "log10": np.log10(2) / 2,
        "silog": 100 * log2 / 2,  # d is log 2 and 0: variance log^2 2 / 2 - (log 2 / 2)^2 = (log 2 / 2)^2
        "delta1": 0.5,  # 2 is not below 1.25, 1.5625 or 1.953; 1 is
        "delta2": 0.5,
        "delta3": 0.5,
    }
    assert {k: float(v) for k, v in result.items()} == pytest.approx(want, rel=1e-5)
    one = depth_errors(jnp.asarray([[2.0, 4, 9, 9]]), jnp.asarray([[1.0, 0, 0, 0]]))  # a single pixel
    assert (float(one["abs_rel"]), float(one["rmse"]), float(one["delta1"])) == (1, 1, 0)
    near = depth_errors(jnp.asarray([[1.2, 1.5, 1.9, 2.0]]), jnp.ones((1, 4)))
    assert [float(near[f"delta{i}"]) for i in (1, 2, 3)] == [0.25, 0.5, 0.75]


@pytest.mark.covers("ME-13")
def test_silog_does_not_see_the_scale_and_the_rest_does():
    rng = np.random.default_rng(0)
    truth, guess = (jnp.asarray(rng.uniform(1, 10, (6, 5)), jnp.float32) for _ in range(2))
    once, twice = depth_errors(guess, truth), depth_errors(2 * guess, truth)
    assert float(once["silog"]) == pytest.approx(float(twice["silog"]), rel=1e-5)
    for name in ("rmse", "abs_rel", "rmse_log", "log10"):
        assert float(once[name]) != pytest.approx(float(twice[name]), rel=1e-2)
    assert float(depth_errors(3 * truth, truth)["silog"]) == pytest.approx(0, abs=1e-3)


@pytest.mark.covers("ME-13")
def test_a_batch_has_the_mean_of_its_images_by_numpy():
    """Image 1 has no pixel that counts, image 3 is masked; a prediction below 1e-6 counts as 1e-6."""
    rng = np.random.default_rng(0)
    guess, truth = rng.uniform(0.5, 3, (2, 4, 2, 5)).astype(np.float32)
    guess[0, 0, 0], truth[1, :, 1:], truth[2, 0, :2] = 1e-9, np.nan, (0, np.inf)
    valid = rng.uniform(size=truth.shape) < 0.8
    valid[0, 0, 0], valid[1, :, 0] = True, False
    expected = []
    for i in (0, 2):
        counts = valid[i] & (truth[i] > 0) & np.isfinite(truth[i])
        p, g = np.maximum(np.float64(guess[i][counts]), 1e-6), np.float64(truth[i][counts])
        d, ratio = np.log(p / g), np.maximum(p / g, g / p)
        roots = [np.sqrt(np.mean((p - g) ** 2)), np.sqrt(np.mean(d**2))]
        delta = [(ratio < 1.25**k).mean() for k in (1, 2, 3)]
        relative = np.mean(abs(p - g) / g), np.mean((p - g) ** 2 / g)
        expected.append([*relative, *roots, np.mean(abs(np.log10(p / g))), 100 * d.std(), *delta])
    found = jax.jit(depth_metrics)(guess, truth, valid, np.array([1, 1, 1, 0]))
    names = ("abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog", "delta1", "delta2", "delta3")
    np.testing.assert_allclose([found[name].compute() for name in names], np.mean(expected, 0), rtol=1e-5)
    assert found["rmse"].count == 2


def test_shapes_that_do_not_fit_are_named():
    image = np.ones((2, 2, 3))
    for name in ("truth", "mask"):
        with pytest.raises(ValueError, match=rf"{name}=\(2, 2\): wrong shape; allowed: \(2, 3\), as prediction"):
            depth_errors(image[0], **{"truth": image[0], name: image[0, :, :2]})
    for name in ("truth", "valid"):
        with pytest.raises(ValueError, match=rf"{name}=\(2, 3\): wrong shape; allowed: \(2, 2, 3\), as prediction"):
            depth_metrics(image, **{"truth": image, name: image[0]})
    guess = np.array([[np.nan, 2.0]], np.float32)
    assert depth_errors(guess, np.array([[0.0, 2.0]], np.float32))["rmse"] == 0


@pytest.mark.weekly
@pytest.mark.covers("ME-13")
def test_a_batch_averages_images_and_leaves_out_those_without_truth():
    rng = np.random.default_rng(0)
    guess, truth = (jnp.asarray(rng.uniform(1, 10, (4, 3, 5)), jnp.float32) for _ in range(2))
    truth = truth.at[1].set(0).at[0, 0].set(jnp.nan)
    valid = jnp.asarray(rng.uniform(size=(4, 3, 5)) < 0.7)
    mask = jnp.asarray([1, 1, 1, 0])
    result = jax.jit(depth_metrics)(guess, truth, valid, mask)
    each = [depth_errors(guess[i], truth[i], valid[i]) for i in (0, 2)]
    for name, metric in result.items():
        assert int(metric.count) == 2
        assert metric.compute() == pytest.approx(np.mean([float(e[name]) for e in each]), rel=1e-5)
    halves = [depth_metrics(guess[s], truth[s], valid[s], mask[s])["rmse"] for s in (slice(0, 1), slice(1, 4))]
    assert halves[0].merge(halves[1]).compute() == pytest.approx(result["rmse"].compute())


@pytest.mark.slow
def test_nothing_to_measure_is_finite():
    result = depth_errors(jnp.asarray([[0.0, -1.0]]), jnp.asarray([[0.0, jnp.inf]]))
    assert all(float(v) == 0 for v in result.values())
    assert depth_metrics(jnp.ones((1, 2, 2)), jnp.zeros((1, 2, 2)))["rmse"].compute() is None
    assert all(jnp.isfinite(v) for v in depth_errors(jnp.zeros((1, 2)), jnp.ones((1, 2))).values())
    with pytest.raises(ValueError, match=r"truth=\(.*: wrong shape; allowed"):
        depth_errors(jnp.ones((2, 2)), jnp.ones((2, 3)))


@pytest.mark.slow
def test_a_perfect_prediction_has_finite_gradients():
    truth = jnp.array([[1.0, 2.0], [4.0, 0.5]])
    jacobian = jax.jacobian(depth_errors)(truth, truth)
    for name, gradient in jacobian.items():
        assert np.isfinite(gradient).all(), name
    np.testing.assert_array_equal(jacobian["rmse"], 0)
