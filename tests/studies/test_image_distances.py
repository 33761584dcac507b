"""What each distortion does to a picture, and the strength at which its error is given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import image_distances as study


@pytest.fixture(scope="module")
def spoiled():
    """(picture [16, 16], {distortion: the picture of strength .1})."""
    picture = np.random.default_rng(0).random((16, 16)).astype(np.float32)
    made = jax.jit(lambda x, key: {name: f(0.1) for name, f in study.distortions(x, key).items()})
    return picture, {name: np.asarray(x) for name, x in made(picture, jax.random.key(0)).items()}


def test_each_distortion_does_what_its_name_says(spoiled):
    """Of strength .1: .1 brighter; contrast by 1.4; noise of .1; a blur of 1 pixel; blocks by .2; shifted by 2."""
    x, got = spoiled
    assert set(got) == {"brighter", "more contrast", "noise", "blur", "blocks", "shifted"}
    np.testing.assert_allclose(got["brighter"] - x, 0.1, atol=1e-6)
    np.testing.assert_allclose(got["more contrast"], x.mean() + 1.4 * (x - x.mean()), atol=1e-5)
    assert (got["noise"] - x).std() == pytest.approx(0.1, abs=0.02)
    np.testing.assert_allclose(got["shifted"], np.roll(x, 2, 1), atol=1e-4)
    tiles = x.reshape(2, 8, 2, 8).mean((1, 3)).repeat(8, 0).repeat(8, 1)
    np.testing.assert_allclose(got["blocks"], 0.8 * x + 0.2 * tiles, atol=1e-5)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(16), np.fft.fftfreq(16), indexing="ij"))
    ratio = np.abs(np.fft.fft2(got["blur"])) / np.abs(np.fft.fft2(x))
    np.testing.assert_allclose(ratio, np.exp(-2 * (np.pi * frequency) ** 2), atol=1e-3)


def test_the_strength_gives_the_error():
    image = jnp.zeros((2, 2))
    out = jax.jit(lambda x: study.at_error(lambda t: x + t, x, 0.04))(image)
    np.testing.assert_allclose(out, 0.2, rtol=1e-4)
