"""Averages of clips by video, by hand."""

import numpy as np
import pytest

from dlcore.evaluators.videos import accuracy_by_video, average_by_video


@pytest.mark.covers("VD-01")
def test_each_video_counts_once():
    # Video 7 has two clips, (1 + 3) / 2 = 2; the others one.
    ids, mean = average_by_video(np.array([[1.0], [5.0], [3.0], [9.0]]), np.array([7, 2, 7, 4]))
    assert ids.tolist() == [2, 4, 7]
    assert mean.tolist() == [[5], [9], [2]]


@pytest.mark.covers("VD-01")
def test_accuracy_is_that_of_the_mean_logits_whatever_the_batches():
    # Video 0 (class 0): (3, 0), (0, 1), (0, 1): the mean says 0, two of three clips say 1. Video 1 (class 0): (0, 1).
    logits = np.array([[3.0, 0], [0, 1], [0, 1], [0, 1]])
    rows = {"label": np.zeros(4, int), "video": np.array([0, 0, 0, 1])}
    for cuts in ([4], [1, 3], [2, 4]):
        evaluator, acc = accuracy_by_video(), None
        for part in np.split(np.arange(4)[::-1], cuts):
            if len(part):
                acc = evaluator.add(acc, {"logits": logits[part]}, {k: v[part] for k, v in rows.items()})
        assert evaluator.finish(acc) == {"accuracy_by_video": 0.5}


def test_the_label_of_a_video_is_that_of_its_clips():
    """Three videos of classes 1, 0 and 1: their means say 1, 1 and 0, so that one is right."""
    evaluator = accuracy_by_video()
    assert evaluator.names == ("accuracy_by_video",)
    rows = {"label": np.array([1, 0, 1, 1]), "video": np.array([3, 5, 3, 9])}
    logits = np.array([[0.0, 3], [0, 1], [1, 0], [1, 0]])
    assert evaluator.finish(evaluator.add(None, {"logits": logits}, rows)) == {"accuracy_by_video": 1 / 3}
