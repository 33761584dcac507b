"""Poison by hand: which labels and pixels change, and that the main direction of a class finds what does not belong."""

import numpy as np
import pytest

from dlcore.adversarial.poisoning import add_trigger, flip_labels, poison, spectral_scores


@pytest.mark.covers("AD-04")
def test_the_share_of_labels_that_was_asked_for_is_another_class():
    labels = np.arange(200) % 5
    flipped = flip_labels(labels, 0.3, 5, seed=1)
    assert (flipped != labels).sum() == 60
    assert set(flipped) == set(range(5))
    assert np.array_equal(flip_labels(labels, 0.0, 5), labels)
    assert (flip_labels(labels, 1.0, 5) != labels).all()


@pytest.mark.covers("AD-04")
def test_the_trigger_is_a_bright_corner_of_other_classes_images():
    images, labels = np.full((10, 5, 6, 1), 0.25), np.arange(10) % 2
    corner = np.full((5, 6), 0.25)
    corner[3:, 4:] = 1
    np.testing.assert_array_equal(add_trigger(images, 2)[..., 0], [corner] * 10)
    assert (add_trigger(images, 1) == 1).sum() == 10  # one pixel of each image
    changed, marked, is_poisoned = poison(images, labels, 0.3, target=1, size=2)
    assert is_poisoned.sum() == 3
    assert (labels[is_poisoned] == 0).all()
    assert (marked[is_poisoned] == 1).all()
    np.testing.assert_array_equal(changed[is_poisoned], add_trigger(images, 2)[is_poisoned])
    np.testing.assert_array_equal(changed[~is_poisoned], images[~is_poisoned])
    np.testing.assert_array_equal(marked[~is_poisoned], labels[~is_poisoned])
    assert images.max() == 0.25, "the arguments stay as they were"
    assert not poison(images, labels, 0.0, target=1)[2].any()


@pytest.mark.covers("AD-04")
def test_scores_are_squares_along_the_main_direction():
    # Centered on (3, 0): -3, -3, -3, 9 along the first axis, +-0.1 along the second.
    features = np.array([[0, 0.1], [0, -0.1], [0, 0], [12, 0]])
    np.testing.assert_allclose(spectral_scores(features), [9, 9, 9, 81], rtol=1e-2)
    rng = np.random.default_rng(0)
    mixed = np.concatenate([rng.normal(size=(90, 5)), rng.normal(size=(10, 5)) + np.array([6, 6, 0, 0, 0])])
    assert set(np.argsort(-spectral_scores(mixed))[:10]) == set(range(90, 100))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"rate=1.5: out of range; allowed: 0 to 1"):
        flip_labels(np.zeros(3, int), 1.5, 2)
