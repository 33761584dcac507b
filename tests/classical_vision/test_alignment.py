"""Alignment: scikit-image's transforms, weights and bad input."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dlcore.classical_vision.alignment import fit_similarity

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "classical_vision.npz")


@pytest.mark.covers("CL-08")
@pytest.mark.parametrize("name", ["rigid", "similarity"])
def test_transforms_are_scikit_images(name):
    source, target = GOLDENS["umeyama/in.src"], GOLDENS["umeyama/in.dst"]
    found = jax.jit(lambda p, q: fit_similarity(p, q, with_scale=name == "similarity"))(source, target)
    expected = GOLDENS[f"umeyama/out.{name}"]
    np.testing.assert_allclose(found.scale * found.rotation, expected[:2, :2], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.translation, expected[:2, 2], rtol=1e-4, atol=1e-4)


def test_a_weight_of_zero_leaves_a_point_out_and_mirrors_are_no_rotations():
    rng = np.random.default_rng(0)
    source = rng.normal(size=(6, 3)).astype(np.float32)
    target = 2 * source[:, [1, 2, 0]] + 1
    target[5] = 100
    found = jax.jit(fit_similarity)(source, target, np.array([1, 1, 1, 1, 1, 0.0]))
    np.testing.assert_allclose(found.apply(source)[:5], target[:5], atol=1e-4)
    mirrored = jax.jit(fit_similarity)(source, source * [-1, 1, 1], np.ones(6))
    assert np.linalg.det(np.asarray(mirrored.rotation)) == pytest.approx(1, abs=1e-5)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="N at least D"):
        fit_similarity(np.zeros((2, 3)), np.zeros((2, 3)))


def test_a_noisy_mirrored_cloud_is_aligned_as_by_scipy_and_a_weight_of_two_counts_twice():
    """The best rotation of centered points is SciPy's; the best scale is then sum w y.Rx / sum w |x|^2."""
    rng = np.random.default_rng(0)
    source = rng.normal(size=(5, 3))
    target = 1.5 * source * [-1, 1, 1] + [4, 5, 6] + 0.3 * rng.normal(size=(5, 3))
    weights = np.array([2.0, 1, 1, 1, 3])
    found = jax.jit(fit_similarity)(source, target, weights)
    x, y = (np.repeat(p, weights.astype(int), 0) for p in (source, target))
    x, y = x - x.mean(0), y - y.mean(0)
    rotation = Rotation.align_vectors(y, x)[0].as_matrix()
    np.testing.assert_allclose(found.rotation, rotation, atol=1e-4)
    np.testing.assert_allclose(found.scale, (y * (x @ rotation.T)).sum() / (x**2).sum(), rtol=1e-4)
    mean = np.average(source, 0, weights), np.average(target, 0, weights)
    np.testing.assert_allclose(found.translation, mean[1] - found.scale * rotation @ mean[0], atol=1e-3)


def test_a_map_in_meters_is_aligned_and_whole_numbers_are_points():
    points = np.random.default_rng(0).normal(size=(8, 3))
    place = np.array([396000, 5782000, 100.0])
    for source, target, shift in ((points + place, points, -place), (points, points + place, place)):
        found = fit_similarity(source, target)
        np.testing.assert_allclose(found.rotation, np.eye(3), atol=1e-8)
        np.testing.assert_allclose(found.scale, 1, rtol=1e-8)
        np.testing.assert_allclose(found.apply(source), target, atol=1e-7)
        np.testing.assert_allclose(found.translation, shift, atol=0.1)
    whole = (100 * points).astype(np.int16)
    for convert in (np.asarray, jnp.asarray):
        found = fit_similarity(convert(whole), convert(2 * whole), convert(np.arange(8) > 0))
        np.testing.assert_allclose(found.scale, 2, rtol=1e-5)
        np.testing.assert_allclose(found.apply(convert(whole)), 2.0 * whole, atol=1e-2)
