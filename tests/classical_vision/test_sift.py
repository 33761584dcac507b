"""SIFT: descriptors by hand, and matches of a turned, scaled and dimmed photograph."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from dlcore.classical_vision.matching import match_descriptors
from dlcore.classical_vision.sift import describe, octave_keypoints, sift
from dlcore.data.sample_images import sample_image


@pytest.fixture(scope="module")
def describe_one():
    return jax.jit(lambda levels, point, angle: describe(levels, point, jnp.zeros(1, int), jnp.ones(1), angle))


@pytest.mark.covers("CL-07")
def test_a_ramp_has_one_angle_in_every_cell(describe_one):
    """A ramp to the right: only bin 0 of each of the 16 cells. The Gaussian, symmetric, makes 3 kinds of cells: 4
    corners, 8 edges, 4 in the middle. Turned by 90°, the point sees the slope at -90°: bin 6 of 8."""
    image = jnp.broadcast_to(jnp.arange(24.0) / 24, (1, 24, 24))
    point = jnp.array([[11.5, 11.5]])
    cells = np.asarray(describe_one(image, point, jnp.zeros(1))).reshape(16, 8)
    assert np.linalg.norm(cells) == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(cells[:, 1:], 0, atol=1e-6)
    grid = cells[:, 0].reshape(4, 4)
    np.testing.assert_allclose(grid, grid.T, atol=1e-5)
    # All votes are at least .2 of the norm before the cut, but those in the corners.
    assert grid[0, 0] < grid[0, 1] <= grid[1, 1] + 1e-6
    turned = np.asarray(describe_one(image, point, jnp.full(1, np.pi / 2))).reshape(16, 8)
    np.testing.assert_allclose(turned[:, 6], cells[:, 0], atol=1e-4)


@pytest.mark.covers("CL-07")
def test_descriptors_turn_with_the_image_and_ignore_light(describe_one):
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.uniform(size=(25, 25)), 1.5).astype(np.float32)
    point = jnp.array([[12.0, 12.0]])
    here = np.asarray(describe_one(image[None], point, jnp.full(1, 0.3)))
    # A quarter turn takes what was down to the right: angles change by -90°.
    turned = np.asarray(describe_one(np.rot90(image)[None].copy(), point, jnp.full(1, 0.3 - np.pi / 2)))
    np.testing.assert_allclose(turned, here, atol=0.02)
    np.testing.assert_allclose(describe_one(0.5 * image[None] + 0.2, point, jnp.full(1, 0.3)), here, atol=1e-3)
    other = np.asarray(describe_one(image[None, ::-1].copy(), point, jnp.full(1, 0.3)))
    assert np.linalg.norm(other - here) > 0.3


def warped(image, angle, scale):
    """(the image turned about its middle and scaled, the 2x3 map of points)."""
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.array([[cos, -sin], [sin, cos]])
    middle = (np.array(image.shape)[::-1] - 1) / 2
    shift = middle - matrix @ middle
    inverse = np.linalg.inv(matrix)
    offset = (inverse @ -shift)[::-1]
    smooth = ndimage.gaussian_filter(image, 0.5 * max(1 / scale - 1, 0))
    return ndimage.affine_transform(smooth, inverse[::-1, ::-1], offset, order=3, mode="nearest"), matrix, shift


def correct_matches(first, second, matrix, shift):
    """(matches by the ratio test whose true place is in reach, the part of them within 2 pixels of it), in NumPy."""
    a, b = (np.asarray(k.descriptors)[np.asarray(k.mask)] for k in (first, second))
    p, q = (np.asarray(k.points)[np.asarray(k.mask)] for k in (first, second))
    distance = np.linalg.norm(a[:, None] - b, axis=-1)
    nearest = np.sort(distance, 1)
    index, clear = distance.argmin(1), nearest[:, 0] < 0.8 * nearest[:, 1]
    error = np.linalg.norm(q[index] - (p @ matrix.T + shift), axis=1)
    return int(clear.sum()), float((error[clear] <= 2).mean())


@pytest.mark.covers("CL-07")
def test_matches_of_a_turned_scaled_and_dimmed_image_are_right():
    """One octave of smooth noise, with SciPy's blurs; raw patches of the same points do not match."""
    image = ndimage.gaussian_filter(np.random.default_rng(0).uniform(size=(72, 72)), 2)
    image = (image - image.min()) / np.ptp(image)
    other, matrix, shift = warped(image, np.deg2rad(30), 1.2)
    other = 0.6 * np.clip(other, 0, 1) + 0.1
    run = jax.jit(lambda levels: octave_keypoints(levels, 60, 0.005))
    blurs = [1.6 * 2 ** (s / 3) for s in range(6)]
    first, second = (
        run(np.stack([ndimage.gaussian_filter(x, b, mode="nearest") for b in blurs]).astype(np.float32))
        for x in (image, other)
    )
    count, correct = correct_matches(first, second, matrix, shift)
    assert count >= 20
    assert correct >= 0.8


@pytest.fixture(scope="module")
def photograph():
    return sample_image("china", 200).astype(np.float32).mean(-1) / 255


@pytest.mark.weekly
@pytest.mark.covers("CL-07", "CL-08")
@pytest.mark.parametrize(("angle", "scale", "light"), [(30, 1, 1), (0, 1.5, 1), (0, 1, 0.6), (20, 0.8, 0.7)])
def test_matches_of_a_photograph_are_right(photograph, angle, scale, light):
    """At least 100 matches by the ratio test, 80 % of them within 2 pixels of where the warp takes the point."""
    other, matrix, shift = warped(photograph, np.deg2rad(angle), scale)
    run = jax.jit(lambda x: sift(x, 600))
    first, second = run(photograph), run((light * np.clip(other, 0, 1)).astype(np.float32))
    matches = match_descriptors(first.descriptors, second.descriptors, first_mask=first.mask, second_mask=second.mask)
    kept = np.array(matches.mask)
    expected = np.asarray(first.points) @ matrix.T + shift
    inside = ((expected >= 0) & (expected <= np.array(photograph.shape)[::-1] - 1)).all(1)
    kept &= inside
    error = np.linalg.norm(np.asarray(second.points)[np.asarray(matches.index)] - expected, axis=1)
    assert kept.sum() >= 100
    assert (error[kept] <= 2).mean() >= 0.8


@pytest.mark.weekly
@pytest.mark.covers("CL-07")
def test_a_blob_is_found_where_it_is_with_its_scale():
    """A Gaussian blob of deviation 4 has its extremum at (30, 24) and scale 4 (Lindeberg: t = σ²)."""
    y, x = np.mgrid[:48, :60]
    image = (0.2 + 0.7 * np.exp(-((x - 30) ** 2 + (y - 24) ** 2) / (2 * 4**2))).astype(np.float32)
    found = jax.jit(lambda x: sift(x, 8))(image)
    assert bool(found.mask[0])
    np.testing.assert_allclose(found.points[0], [30, 24], atol=0.2)
    assert float(found.sigmas[0]) == pytest.approx(4, rel=0.2)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"image=float32\[8, 8\]: wrong type"):
        sift(np.zeros((8, 8), np.float32))
    with pytest.raises(ValueError, match="count=0"):
        sift(np.zeros((20, 20), np.float32), 0)
    with pytest.raises(ValueError, match=r"image\[0, 0\]=nan: not finite"):
        sift(np.full((20, 20), np.nan, np.float32))


@pytest.mark.weekly
@pytest.mark.covers("CL-07")
def test_a_batch_equals_its_images_and_small_images_are_filled_up():
    """vmap of two images is each alone; rows beyond the keypoints are zeros and masked, as many as asked for."""
    images = ndimage.gaussian_filter(np.random.default_rng(0).uniform(size=(2, 24, 28)), (0, 1.5, 1.5))
    images = (4 * images - 1.5).clip(0, 1).astype(np.float32)
    run = lambda x: sift(x, 3000, octaves=1, double=False)  # noqa: E731
    batched = jax.jit(jax.vmap(run))(images)
    alone = jax.jit(run)(images[1])
    chex.assert_shape(alone.descriptors, (3000, 128))
    assert alone.mask.dtype == bool
    assert 0 < alone.mask.sum() < 500
    for a, b in zip(batched, alone, strict=True):
        np.testing.assert_allclose(a[1], b, atol=1e-4)
        assert not np.asarray(b)[~np.asarray(alone.mask)].any()
    np.testing.assert_allclose(np.linalg.norm(alone.descriptors, axis=1)[np.asarray(alone.mask)], 1, atol=1e-4)
