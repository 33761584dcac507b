"""Batch norm and small batches: the verdict turns with the accuracies, and two examples are too few."""

import numpy as np
import pytest

from experiments.studies import batch_norm_batch_size as study


@pytest.mark.covers("NO-14")
def test_the_verdict_on_batch_size_turns():
    batch_sizes = (2, 8, 128)

    def verdict(batch, group):
        return study.report(batch_sizes, {"batch": np.array([batch] * 2), "group": np.array([group] * 2)})

    good = verdict([0.5, 0.9, 0.92], [0.91, 0.92, 0.92])
    assert good.holds
    assert "falls from 92.0% to 50.0% with batch norm, and from 92.0% to 91.0% with group norm" in good.verdict
    assert good.numbers["accuracy lost at the smallest, batch norm"] == pytest.approx([0.42, 0.42])
    assert "within a point of its best from 128 on" in good.verdict
    assert not verdict([0.91, 0.92, 0.92], [0.91, 0.92, 0.92]).holds
    assert not verdict(
        [0.5, 0.9, 0.92], [0.4, 0.92, 0.92]
    ).holds  # group norm fails as well: not the batch's statistics


@pytest.mark.weekly
@pytest.mark.covers("NO-14")
def test_batches_of_two_break_batch_norm_and_not_group_norm():
    result = study.study(**study.experiment.smoke)
    batch, group = (result.numbers[f"test accuracy, {norm} norm"] for norm in ("batch", "group"))
    assert batch[0] < batch[1] - 0.02
    assert group[0] > batch[0]
