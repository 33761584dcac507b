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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: flip_labels(np.zeros(3, int), 1.5, 2), "rate=1.5: out of range; allowed: 0 to 1"),
        (
            lambda: poison(np.zeros((4, 4, 4, 1)), np.array([0, 0, 0, 1]), 0.5, 0),
            "rate=0.5: 2 examples, other classes have 1",
        ),
        (lambda: flip_labels(np.zeros(3, int), -0.1, 2), "rate=-0.1: out of range; allowed: 0 to 1"),
        (
            lambda: flip_labels(np.zeros(3, int), 0.5, 1),
            "num_classes=1: no other class to flip to; allowed: at least 2",
        ),
        (lambda: flip_labels(np.array([0, 2]), 0.5, 2), r"labels\[1\]=2: out of range; allowed: 0 to 1"),
        (lambda: poison(np.zeros((2, 4, 4, 1)), np.array([0, 1]), 1.5, 0), "rate=1.5: out of range"),
        (lambda: poison(np.zeros((2, 4, 4, 1)), np.array([0, 1]), 0.5, 2), "target=2: out of range; allowed: 0 to 1"),
        (lambda: poison(np.zeros((2, 4, 4, 1)), np.array([0, 1]), 0.5, -1), "target=-1: out of range; allowed: 0 to 1"),
        (
            lambda: poison(np.full((2, 4, 4, 1), 255), np.array([0, 1]), 0.5, 0),
            r"images: from 255 to 255; allowed: numbers in \[0, 1\]",
        ),
        (lambda: poison(np.zeros((2, 4, 4, 1)), np.array([0, -7]), 0.5, 0), r"labels\[1\]=-7: out of range"),
        (lambda: poison(np.zeros((2, 4, 4, 1)), np.array([0.5, 1]), 0.5, 0), "labels=.*wrong shape or dtype"),
        (lambda: poison(np.zeros((1, 4, 4, 1)), np.array([0, 1]), 0.5, 0), "labels=.*wrong shape or dtype"),
        (lambda: poison(np.zeros((0, 4, 4, 1)), np.zeros(0, int), 0.5, 0), r"images=\[\]: empty"),
        (lambda: poison(np.zeros((2, 4, 4, 1)), np.array([0, 1]), 0.5, 0, seed=-1), "seed=-1: too small"),
        (lambda: flip_labels(np.zeros(3, int), "a", 2), "rate='a': no number"),
        (lambda: flip_labels(np.zeros(3, int), 0.5, 2.5), "num_classes=2.5: no whole number"),
        (lambda: flip_labels(np.zeros(3, int), 0.5, 2, 0.5), "seed=0.5: no whole number"),
        (lambda: flip_labels(np.zeros((3, 1), int), 0.5, 2), "labels=.*wrong shape or dtype"),
        (lambda: add_trigger(np.zeros((1, 4, 4, 1)), 2.5), "size=2.5: no whole number"),
        (lambda: add_trigger(np.zeros((4, 4, 1))), "images=.*wrong shape or dtype"),
        (lambda: spectral_scores(np.array([[0.0, np.nan]])), r"features\[0, 1\]=nan: not finite"),
        (lambda: spectral_scores(np.zeros((0, 2))), r"features.shape=\(0, 2\): empty"),
        (lambda: add_trigger(np.full((2, 4, 4, 1), 255, np.uint8)), "images: from 255 to 255"),
        (lambda: add_trigger(np.zeros((1, 4, 4, 1)), 0), "size=0: does not fit images of 4 x 4; allowed: 1 to 4"),
        (lambda: add_trigger(np.zeros((1, 4, 4, 1)), 5), "size=5: does not fit images of 4 x 4; allowed: 1 to 4"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
