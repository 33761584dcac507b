"""Path length of a linear generator in closed form, and the share of noise by hand."""

import chex
import numpy as np
import pytest

from dlcore.evaluators.latent_distances import noise_share, path_length
from dlcore.generative.styles import noisy, walks


def flat(images):
    return images.reshape(len(images), -1)


@pytest.mark.covers("GE-18")
def test_the_path_length_of_a_linear_generator_is_the_speed_of_its_walk():
    """G doubles: |2 z(t) - 2 z(t + e)|^2 / e^2 is 4 times the squared speed; on the unit circle by pi / 2 a walk."""
    step = 0.01
    angle = np.pi / 2 * np.array([0.2, 0.2 + step, 0.7, 0.7 + step])
    points = np.stack([np.cos(angle), np.sin(angle)], -1)
    measure = path_length(flat, "walks", step)
    assert (measure.source, measure.names) == ("walks", ("path_length",))
    acc = measure.add(None, {"decoded": 2 * points[:2]}, None)
    acc = measure.add(acc, {"decoded": 2 * points[2:]}, None)
    assert measure.finish(acc)["path_length"] == pytest.approx(4 * (np.pi / 2) ** 2, rel=1e-4)
    jumps = np.array([[0.0, 0], [1, 0], [0, 0], [0, 0]])
    assert measure.finish(measure.add(None, {"decoded": jumps}, None))["path_length"] == pytest.approx(5000)


@pytest.mark.covers("GE-18")
def test_walks_are_pairs_on_an_arc_with_one_noise():
    source = walks(50, 64, 3, step=0.01)
    latents = source.arrays["latent"]
    chex.assert_shape(latents, (100, 67))
    np.testing.assert_array_equal(latents[::2, 64:], latents[1::2, 64:])
    speed = np.linalg.norm(latents[::2, :64] - latents[1::2, :64], axis=1) / 0.01
    # Normal vectors are about orthogonal and sqrt(64) long: a quarter of a circle of radius 8.
    assert speed.mean() == pytest.approx(8 * np.pi / 2, rel=0.1)
    assert np.linalg.norm(latents[:, :64], axis=1) == pytest.approx(8 * np.ones(100), rel=0.35)


@pytest.mark.covers("GE-17")
def test_the_share_of_noise_is_its_distance_over_that_of_another_latent():
    latents = noisy(20, 2, 1).arrays["latent"].reshape(20, 3, 3)
    np.testing.assert_array_equal(latents[:, 0, :2], latents[:, 1, :2])
    np.testing.assert_array_equal(latents[:, 0, 2], latents[:, 2, 2])
    assert (latents[:, 0, 2] != latents[:, 1, 2]).all()
    measure = noise_share(flat, "triples")
    assert (measure.source, measure.names) == ("triples", ("noise_share",))
    images = np.array([[0.0, 0], [3, 4], [0, 10], [1, 1], [1, 6], [31, 1]])
    assert measure.finish(measure.add(None, {"decoded": images}, None))["noise_share"] == pytest.approx(10 / 40)
    assert measure.finish(measure.add(None, {"decoded": np.zeros((3, 2))}, None)) == {}


@pytest.mark.covers("GE-17", "GE-18")
def test_images_that_are_not_finite_are_an_error():
    with pytest.raises(ValueError, match=r"decoded\[1, 0\]=nan: not finite"):
        path_length(flat, None, 0.01).add(None, {"decoded": np.array([[0.0], [np.nan], [1.0]])}, None)
