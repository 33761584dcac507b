"""PSNR and LPIPS of images and their targets, by hand."""

import numpy as np
import pytest

from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.evaluators import image_pair_evaluator, image_pairs


def measure(outputs, rows, pairs):
    evaluator = image_pair_evaluator(lambda images: {"layer": images}, pairs)
    numbers = evaluator.finish(evaluator.add(evaluator.add(None, outputs, rows), outputs, rows))
    assert set(numbers) == set(evaluator.names)
    return numbers


def test_both_measures_and_their_intervals():
    """A pixel 0.1 off: 20 dB; equal: at most 100 dB. Vectors (1, 0) and (0, 1) differ by 2, (1, 0) and (2, 0) by 0."""
    images = np.array([[[[0.9]]], [[[1.0]]]], np.float32)
    numbers = measure({"sample": images}, {"image": np.full((2, 1, 1, 1), 255, np.uint8)}, {"sample": "image"})
    np.testing.assert_allclose(numbers["psnr"], 60.0, rtol=1e-5)
    # Over 20, 100, 20, 100 the deviation is sqrt(4 x 40^2 / 3).
    np.testing.assert_allclose(numbers["psnr_interval"], 1.96 * np.sqrt(4 * 40**2 / 3) / 2, rtol=1e-5)
    vectors = np.array([[[[1.0, 0.0]]], [[[1.0, 0.0]]]], np.float32)
    targets = np.array([[[[0.0, 1.0]]], [[[0.5, 0.0]]]], np.float32)
    numbers = measure({"b_of_a": vectors}, {"b": targets}, {"b_of_a": "b"})
    np.testing.assert_allclose(numbers["lpips"], 1.0, rtol=1e-5)
    np.testing.assert_allclose(numbers["lpips_interval"], 1.96 * np.sqrt(4 / 3) / 2, rtol=1e-5)


def test_no_pairs_and_one_image_are_refused():
    with pytest.raises(ValueError, match=r"pairs=\{\}: nothing to compare; allowed: at least one image and its target"):
        image_pair_evaluator(lambda images: {}, {})


@pytest.mark.slow
def test_test_images_with_targets_are_compared_and_others_are_not():
    """The maps of the network that dlcore ships are equal for equal images, and differ for black and white ones."""
    black, white = np.zeros((2, 8, 8, 1), np.uint8), np.full((2, 8, 8, 1), 255, np.uint8)
    with_target = Source({"a": black, "b_of_a": white}, 2)
    splits = Splits(with_target, with_target, with_target, {})
    assert image_pairs.target_evaluators({"b_of_a": "b_of_a"}, splits, "valid") == []
    assert image_pairs.target_evaluators({"a_of_b": "a_of_b"}, splits, "test") == []
    (evaluator,) = image_pairs.target_evaluators({"b_of_a": "b_of_a", "a_of_b": "a_of_b"}, splits, "test")
    equal = evaluator.finish(evaluator.add(None, {"b_of_a": white / np.float32(255)}, with_target.arrays))
    other = evaluator.finish(evaluator.add(None, {"b_of_a": black / np.float32(255)}, with_target.arrays))
    assert equal["psnr"] == 100.0
    assert abs(equal["lpips"]) < 1e-6
    assert other["psnr"] == pytest.approx(0.0, abs=1e-5)
    assert other["lpips"] > 0.1


def test_targets_are_compared_in_the_maps_of_each_pair_and_the_source_is_kept():
    """Maps ten times as large change nothing of unit vectors; half of black on white has 0 dB, the other half 100."""
    targets = {"a": np.array([[[[0.0]]]], np.float32), "b": np.array([[[[255]]]], np.uint8)}
    evaluator = image_pair_evaluator(lambda images: {"layer": 10 * images}, {"x": "a", "y": "b"}, "rows")
    assert evaluator.source == "rows"
    one = np.ones((1, 1, 1, 1), np.float32)
    numbers = evaluator.finish(evaluator.add(None, {"x": one, "y": one}, targets))
    np.testing.assert_allclose(numbers["psnr"], 50.0, atol=1e-4)
    np.testing.assert_allclose(numbers["psnr_interval"], 1.96 * np.sqrt(2 * 50**2) / np.sqrt(2), rtol=1e-5)
