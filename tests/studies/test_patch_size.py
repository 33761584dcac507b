"""What a ViT of each patch size costs, which drawings it sees, and the verdict."""

import chex
import numpy as np
import pytest

from experiments.studies import patch_size as study


def test_multiply_adds_by_hand():
    """A block of T tokens and width 48: 4 T 48² for attention's projections, 2 T² 48 for its products, 2 T 48 96."""

    def by_hand(p):
        patches = (16 // p) ** 2
        tokens = patches + 1
        block = 4 * tokens * 48**2 + 2 * tokens**2 * 48 + 2 * tokens * 48 * 96
        return patches * p * p * 48 + 3 * block + 48 * 40

    assert study.multiply_adds(8) == by_hand(8)
    assert study.multiply_adds(4) == by_hand(4) > 3 * by_hand(8)


@pytest.mark.slow
def test_no_drawing_is_in_two_splits():
    drawings = study.split_drawings()
    assert {split: len(images) for split, (images, _) in drawings.items()} == {"train": 960, "valid": 240, "test": 400}
    seen = [{image.tobytes() for image in np.asarray(images)} for images, _ in drawings.values()]
    assert not (seen[0] & seen[1])
    assert not (seen[0] & seen[2])
    assert not (seen[1] & seen[2])
    images, labels = drawings["test"]
    assert np.bincount(labels).tolist() == [10] * 40
    np.testing.assert_array_equal(images[10:20], study.stroke_characters(range(40), 40, 16).arrays["image"][70:80])


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, True),
        ({2: [0.5, 0.5], 8: [0.9, 0.8]}, False),  # the arms swapped
        ({4: [0.9, 0.6]}, False),  # not on every seed
        ({8: [0.7, 0.6]}, False),  # no better than the next
    ],
)
def test_the_verdict(changes, holds):
    accuracy = {2: [0.9, 0.8], 4: [0.7, 0.6], 8: [0.5, 0.5]} | changes
    accuracy = {p: np.array(accuracy[p]) for p in (8, 2, 4)}
    result = study.report(accuracy, {2: 4e6, 4: 1e6, 8: 2e5}, dict.fromkeys((2, 4, 8), 1e-3))
    assert result.holds is holds
    assert result.headline.values.tolist() == accuracy[2].tolist()
    assert result.headline.baseline[0] == pytest.approx(accuracy[8].mean())


@pytest.mark.parametrize("sizes", [(2,), (2, 2), (2, 3), (0, 2)])
def test_patch_sizes_are_different_divisors(sizes):
    with pytest.raises(ValueError, match=r"patch_sizes=.*: allowed: two or more different divisors of 16"):
        study.study(patch_sizes=sizes)


@pytest.mark.weekly
def test_each_patch_size_trains():
    accuracy, rate = study.accuracies(8, 2, 60)
    chex.assert_shape(accuracy, (2,))
    assert rate in study.RATES
    assert (accuracy > 3 / 40).all()
