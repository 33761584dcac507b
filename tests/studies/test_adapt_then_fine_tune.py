"""What validation chooses, which digits are apart, and the verdict, by hand."""

import numpy as np
import pytest

from experiments.studies import adapt_then_fine_tune as study

HIGH, MIDDLE, LOW, LOWEST = ([0.9, 0.8, 0.7], [0.8, 0.7, 0.7], [0.7, 0.7, 0.7], [0.6, 0.6, 0.5])


@pytest.mark.covers("TL-19")
def test_validation_chooses_and_both_takes_the_weight_of_the_adapted_network():
    scores = {
        ("source only", None, None): [0.5, 0.5],
        ("adapted", 1.0, None): [0.6, 0.7],  # mean 0.65
        ("adapted", 3.0, None): [0.9, 0.3],  # 0.60
        ("fine-tuned", None, 0.1): [0.6, 0.6],
        ("fine-tuned", None, 0.2): [0.7, 0.6],
        ("both", 1.0, 0.1): [0.8, 0.7],
        ("both", 1.0, 0.2): [0.7, 0.7],
        ("both", 3.0, 0.1): [0.9, 0.9],  # the highest, of another weight
    }
    keys = study.select_settings(scores)
    assert keys == {
        "source only": ("source only", None, None),
        "adapted": ("adapted", 1.0, None),
        "fine-tuned": ("fine-tuned", None, 0.2),
        "both": ("both", 1.0, 0.1),
    }


@pytest.mark.covers("TL-19")
@pytest.mark.parametrize(
    ("values", "gain", "holds"),
    [
        ((LOWEST, LOW, MIDDLE, HIGH), [10, 10, 0], True),
        ((LOWEST, LOW, HIGH, MIDDLE), [-10, -10, 0], False),  # fine-tuned and both swapped
        ((LOWEST, HIGH, LOW, MIDDLE), [-10, -10, 0], False),  # adapted and both swapped
        ((LOWEST, LOW, MIDDLE, MIDDLE), [0, 0, 0], False),
    ],
)
def test_the_verdict_compares_both_with_the_best_of_the_others(values, gain, holds):
    results = dict(zip(study.ARMS, values, strict=True))
    settings = {arm: (arm, 1.0, 0.1) for arm in study.ARMS}
    result = study.report(results, settings, 20)
    assert result.holds is holds
    np.testing.assert_allclose(result.headline.values, gain, atol=1e-9)


@pytest.mark.covers("TL-19")
def test_no_validation_or_test_digit_is_among_those_that_are_learned():
    data = study.load(10)
    rows = [
        {image.tobytes() for image in images} for images in (study.scaled(data.target)[0], data.valid[0], data.test[0])
    ]
    for images in (study.scaled(data.target)[0], data.source[0], data.valid[0], data.test[0]):
        assert images.min() == -1
        assert 0.5 < images.max() <= 1
    assert [len(images) for images in (data.target, data.valid[0], data.test[0])] == [1097, 200, 500]
    assert len(rows[0] & rows[1]) + len(rows[0] & rows[2]) + len(rows[1] & rows[2]) <= 2, "digits drawn alike"
