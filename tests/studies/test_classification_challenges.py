"""The six challenges: perturbations by hand, the strength that halves, the verdict, and a smoke run."""

import jax
import numpy as np
import pytest

from experiments.studies import classification_challenges as challenges
from experiments.studies.small_runs import Digits

IMAGE = np.zeros((2, 8, 8, 1), np.float32)
IMAGE[0, 1, 6, 0], IMAGE[1, :, :4, 0] = 1, 0.8
KEY = jax.random.key(0)


@pytest.mark.covers("CL-16")
@pytest.mark.parametrize("name", challenges.CHALLENGES[:-1])
def test_perturbations_by_hand(name):
    """Strength 0 changes nothing; at 1 each does what it says."""
    clean, full = (np.asarray(challenges.perturb(name, IMAGE, s, KEY)) for s in (0.0, 1.0))
    np.testing.assert_allclose(clean, IMAGE, atol=1e-5)
    if name == "viewpoint":
        # A quarter turn takes row 1, column 6 to a pixel that is as far from the middle.
        row, column = np.unravel_index(full[0, ..., 0].argmax(), (8, 8))
        assert (row, column) in {(1, 1), (6, 6)}
    if name == "illumination":
        np.testing.assert_allclose(full[1, 0, :4, 0], 0.8 * (1 - np.arange(4) / 7), rtol=1e-5)
    if name == "deformation":
        # Row 2 of 8: a quarter of the wave, shifted by 8 / 4 = 2 pixels; row 0 stays.
        np.testing.assert_allclose(full[1, 2, :, 0], [0.8, 0.8, 0, 0, 0, 0, 0, 0], atol=1e-5)
        np.testing.assert_allclose(full[1, 0], IMAGE[1, 0], atol=1e-5)
    if name == "occlusion":
        assert (full == 0.5).sum((1, 2, 3)).min() >= 25
        assert (full == 0.5).sum((1, 2, 3)).max() <= 49
    if name == "clutter":
        assert (full >= np.asarray(IMAGE)).all()
        assert full.sum() > IMAGE.sum()


@pytest.mark.covers("CL-16")
def test_the_strength_that_halves():
    # .9 halves to .45 between .6 at .5 and .2 at 1: .5 + (.6 - .45) / .4 * .5 = .6875
    assert challenges.half_strength((0.0, 0.5, 1.0), np.array([0.9, 0.6, 0.2])) == pytest.approx(0.6875)
    assert challenges.half_strength((0.0, 1.0), np.array([0.9, 0.6])) is None


@pytest.mark.covers("CL-16")
def test_the_least_typical_images_stay():
    """Test images at distances 0 to 9 from the mean of class 0: of strength 1, the farthest tenth."""
    images = np.zeros((10, 1, 1, 1))
    data = Digits(images, np.arange(10), np.arange(10.0)[::-1].reshape(10, 1, 1, 1), np.zeros(10, int))
    np.testing.assert_array_equal(challenges.least_typical(data, 1.0), [0])
    assert len(challenges.least_typical(data, 0.0)) == 10


@pytest.mark.covers("CL-16")
def test_the_verdict_turns():
    best, worst = np.full((6, 5), 0.9), np.full((6, 5), 0.3)
    accuracy = {"rule": worst, "HOG": best, "network": best}
    assert challenges.judge(accuracy)[1]
    # Each of the two others, below the rule under any one challenge, turns it; so does a swap with the rule.
    for method in ("HOG", "network"):
        for i in range(6):
            assert not challenges.judge(accuracy | {method: np.where(np.arange(6)[:, None] == i, 0.2, best)})[1]
        verdict, holds = challenges.judge(accuracy | {"rule": best, method: worst})
        assert not holds
        assert "NOT the worst" in verdict
    with pytest.raises(ValueError, match="challenge='fog': unknown; allowed: viewpoint"):
        challenges.perturb("fog", IMAGE, 0.5, KEY)


@pytest.mark.weekly
@pytest.mark.covers("CL-16")
def test_smoke():
    result = challenges.study(**challenges.experiment.smoke)
    assert set(result.figures) == {"accuracy", "challenges"}
    assert result.numbers["HOG, viewpoint"][0] > 0.85
    assert 0.1 < result.numbers["rule, viewpoint"][0] < 0.7
