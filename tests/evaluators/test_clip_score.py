"""CLIP score of samples, by hand."""

import numpy as np
import pytest

from dlcore.evaluators.clip_score import clip_score_evaluator


def evaluator():
    """Vectors: a sample's first two pixels; a prompt's two numbers."""
    return clip_score_evaluator(lambda x: x.reshape(len(x), -1), lambda rows: rows["words"], "prompts")


@pytest.mark.covers("ME-16")
def test_the_score_counts_each_sample_with_its_own_prompt():
    measure = evaluator()
    samples, words = np.float32([[1, 0], [0, 1], [3, 4]]), np.float32([[1, 0], [0, -1], [1, 0]])
    acc = measure.add(None, {"sample": samples[:2].reshape(2, 1, 2, 1)}, {"words": words[:2]})
    acc = measure.add(acc, {"sample": samples[2:].reshape(1, 1, 2, 1)}, {"words": words[2:]})
    result = measure.finish(acc)
    # Cosines 1, -1 (counts 0) and 3/5: 100, 0 and 60, of mean 160/3 and squares 46.67^2 + 53.33^2 + 6.67^2 = 15200/3.
    assert result["clip_score"] == pytest.approx(160 / 3, rel=1e-5)
    assert result["clip_score_interval"] == pytest.approx(1.96 * np.sqrt(15200 / 3 / 2) / np.sqrt(3), rel=1e-5)
    # By the next prompt: (1, 0) with (0, -1) is 0, (0, 1) with (1, 0) is 0, (3, 4) with (1, 0) is 3/5.
    assert result["shuffled_clip_score"] == pytest.approx(60 / 3, rel=1e-5)
    assert set(result) == set(measure.names)
    assert measure.source == "prompts"


def test_one_sample_and_a_sample_that_is_not_finite_are_refused():
    measure, words = evaluator(), np.ones((1, 2), np.float32)
    acc = measure.add(None, {"sample": np.ones((1, 1, 2, 1))}, {"words": words})
    with pytest.raises(ValueError, match="1 sample: too few for an interval; allowed: at least 2"):
        measure.finish(acc)
