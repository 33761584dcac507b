"""Editing: what the noise hides is drawn anew, the background stays bit for bit, and Gaussians say where edits lead."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.editing import Editing, composite, edit_images, inversion_edit, repaint, sdedit, strength_grid
from dlcore.generative.samplers import ddim_sample, ddpm_sample
from dlcore.generative.schedules import add_noise, sampling_grid, timesteps
from tests.generative.test_samplers import ABAR, fake, gaussian, grid_of

BARS = jnp.asarray(ABAR, jnp.float32)


def noises(shape, seed=1):
    return lambda k: jax.random.normal(jax.random.fold_in(jax.random.key(seed), k + 1), shape)


@pytest.mark.covers("GE-42")
def test_sdedit_starts_where_the_strength_says():
    """Ten steps at 900, 800, ..., 0: a strength of .4 starts at 300 with four of them, .04 at none."""
    grid, x, noise = grid_of(10), jnp.linspace(-1, 1, 6).reshape(2, 3), noises((2, 3))
    part = strength_grid(grid, 0.4)
    np.testing.assert_array_equal(part.timesteps, [300, 200, 100, 0])
    start = add_noise(x, noise(-1), jnp.float32(ABAR[300]))
    expected = ddim_sample(fake, start, noise, part, clip_sample=False)
    np.testing.assert_allclose(sdedit(fake, x, noise, grid, 0.4, clip_sample=False), expected, atol=1e-6)
    for strength in (0.0, 0.04):
        np.testing.assert_array_equal(sdedit(fake, x, noise, grid, strength), x)
    whole = sdedit(fake, x, noise, grid, 1.0, sampler=ddpm_sample, return_trajectory=True)[1]
    assert len(whole) == 11


@pytest.mark.covers("GE-42")
def test_a_stronger_edit_keeps_less_of_the_image_and_is_more_like_the_data():
    """Data N(.3, .2^2), images at 2: the distance to the mean falls with the strength."""
    denoise, noise, x = gaussian(BARS), noises((200, 1)), jnp.full((200, 1), 2.0)
    grid = sampling_grid(ABAR, timesteps(1000, 25))
    edited = [sdedit(denoise, x, noise, grid, s, clip_sample=False).mean() for s in (0.0, 0.2, 0.5, 1.0)]
    assert edited[0] == 2
    assert edited[0] > edited[1] + 0.1 > edited[2] + 0.2
    assert edited[3] == pytest.approx(0.3, abs=0.05)


@pytest.mark.covers("GE-42")
def test_inversion_maps_one_gaussian_to_another_along_the_path():
    """The path of N(m, s^2) keeps (x - m) / s: from N(.3, .2^2) to N(-.4, .1^2) x becomes -.4 + .1 (x - .3) / .2."""
    x, grid = jnp.linspace(-0.1, 0.7, 5)[:, None], sampling_grid(ABAR, timesteps(1000, 500))
    edited = jax.jit(lambda x: inversion_edit(gaussian(BARS), gaussian(BARS, -0.4, 0.1), x, grid))(x)
    np.testing.assert_allclose(edited, -0.4 + 0.5 * (x - 0.3), atol=0.01)


def correlated(correlation):
    """The best predictor of two pixels of variance .16 and this correlation, [B, 1, 2, 1]."""
    values, vectors = np.linalg.eigh(0.16 * np.array([[1, correlation], [correlation, 1]]))

    def denoise(x, t):
        flat = x.reshape(-1, 2) @ vectors
        flat = flat * jnp.sqrt(1 - BARS[t]) / (BARS[t] * values + 1 - BARS[t])
        return (flat @ vectors.T).reshape(x.shape).astype(x.dtype)

    return denoise


@pytest.mark.covers("GE-42")
def test_repaint_by_hand():
    """Two pixels, the first known, two passes a step: step k, pass i has the noises 3 (2 k + i) and the two after it.

    x0 is cut to [-1, 1], and eps is that of the cut one.
    """
    grid, known, mask = grid_of(2), np.float32([0.4, 9]), np.array([0.0, 1]).reshape(1, 1, 2, 1)
    edit = jax.jit(
        lambda x, start: repaint(
            lambda x, t: 0.1 * x, x, mask, start, lambda k: jnp.sin(1.0 + k) * jnp.ones((1, 1, 2, 1)), grid, resamples=2
        )
    )
    x = np.array([0.5, 3.0])
    found = edit(known.reshape(mask.shape), np.float32(x).reshape(mask.shape))
    for k, (bar, after) in enumerate(itertools.pairwise(np.float64(grid.alphas_cumprod))):
        for i in (0, 1):
            first, second, third = np.sin(1.0 + 3 * (2 * k + i) + np.arange(3))
            x0 = np.clip((x - np.sqrt(1 - bar) * 0.1 * x) / np.sqrt(bar), -1, 1)
            variance = (1 - after) / (1 - bar) * (1 - bar / after)
            eps = (x - np.sqrt(bar) * x0) / np.sqrt(1 - bar)
            drawn = np.sqrt(after) * x0 + np.sqrt(max(1 - after - variance, 0)) * eps + np.sqrt(variance) * first
            background = np.sqrt(after) * known + np.sqrt(1 - after) * second
            below = np.array([background[0], drawn[1]])
            x = np.sqrt(bar / after) * below + np.sqrt(1 - bar / after) * third
        x = below
    np.testing.assert_allclose(found.ravel(), x, rtol=1e-4)


@pytest.mark.covers("GE-42")
def test_each_method_keeps_what_is_not_masked():
    x, grid, mask = np.float32([[[[0.3], [-0.2]]]]), grid_of(4), np.array([0.0, 1]).reshape(1, 1, 2, 1)
    noise = lambda k: jnp.sin(1.0 + k) * jnp.ones((1, 1, 2, 1))  # noqa: E731

    @jax.jit
    def run(x):
        part = edit_images(Editing("sdedit", 0.5), None, fake, x, mask, noise, grid)
        again = edit_images(Editing("repaint", resamples=2), None, fake, x, mask, noise, grid)
        return (
            part,
            sdedit(fake, x, noise, grid, 0.5),
            again,
            repaint(fake, x, mask, noise(-1), noise, grid, resamples=2),
        )

    for edited, whole in zip(*[iter(jax.device_get(run(x)))] * 2, strict=True):
        assert edited[0, 0, 0] == x[0, 0, 0]
        np.testing.assert_allclose(edited[0, 0, 1], whole[0, 0, 1], rtol=1e-5)
        assert abs(edited[0, 0, 1] - x[0, 0, 1]) > 0.01


@pytest.mark.covers("GE-42")
def test_the_strength_of_an_inversion_is_the_part_of_the_path_that_it_goes():
    x, grid, ones = np.float32([[[[0.3], [-0.2]]]]), grid_of(4), np.ones((1, 1, 2, 1))

    @jax.jit
    def run(x):
        edited = [
            edit_images(Editing("inversion", strength), fake, gaussian(BARS), x, ones, jnp.zeros_like, grid)
            for strength in (0.0, 0.5)
        ]
        return *edited, inversion_edit(fake, gaussian(BARS), x, strength_grid(grid, 0.5), clip_sample=True)

    none, half, expected = run(x)
    np.testing.assert_array_equal(none, x)
    np.testing.assert_allclose(half, expected, rtol=1e-5)
    assert np.abs(half - x).max() > 0.01


@pytest.mark.covers("GE-42")
def test_repaint_draws_what_fits_and_leaves_the_background_bit_for_bit():
    """Of two pixels of correlation .9 the first is known, .5: the other has mean .45 and deviation .4 sqrt(.19)."""
    x, mask = jnp.full((300, 1, 2, 1), 0.5), jnp.tile(jnp.array([0.0, 1.0]).reshape(1, 1, 2, 1), (300, 1, 1, 1))
    x = x.at[0, 0, 0, 0].set(0.1234567)
    grid, noise = sampling_grid(ABAR, timesteps(1000, 20)), noises(x.shape)

    @jax.jit
    def draw(resamples):
        return repaint(correlated(0.9), x, mask, noise(-1), noise, grid, resamples=resamples, clip_sample=False)

    once, often = draw(1), draw(10)
    for sample in (once, often):
        np.testing.assert_array_equal(sample[:, 0, 0], x[:, 0, 0])
    error = [abs(float(sample[1:, 0, 1].mean()) - 0.45) for sample in (once, often)]
    assert error[1] < 0.1 < 0.15 < error[0]
    assert float(often[1:, 0, 1].std()) == pytest.approx(0.4 * 0.19**0.5, rel=0.25)


@pytest.mark.covers("GE-42")
def test_the_background_of_a_composite_is_bit_equal():
    image, edited = jax.random.uniform(jax.random.key(0), (2, 1, 4, 4, 3))
    mask = jnp.zeros((1, 4, 4, 1)).at[:, :2].set(1)
    result = composite(image, edited, mask)
    np.testing.assert_array_equal(result[:, 2:], image[:, 2:])
    np.testing.assert_array_equal(result[:, :2], edited[:, :2])


def test_bad_input():
    x = jnp.zeros((1, 4, 4, 3))
    with pytest.raises(ValueError, match="resamples=0: out of range"):
        repaint(fake, x, x[..., :1], x, lambda k: x, grid_of(3), resamples=0)
