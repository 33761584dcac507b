"""Sharpness read at equal loss, the figure, and the verdict."""

import numpy as np
import pytest

from experiments.studies import batch_size_sharpness as study


def run(*rows):
    """One seed of (loss, eigenvalue, accuracy)."""
    return np.array([rows])


def test_the_figure_has_a_panel_for_time_loss_and_accuracy():
    """Two batch sizes of two seeds, two evaluations in ten steps: at steps 5 and 10; the edge is 2 / 0.1 = 20."""
    runs = np.concatenate([run((0.5, 3, 0.8), (0.01, 1, 0.95)), run((0.4, 5, 0.8), (0.02, 2, 0.85))])
    left, middle, right = study.draw({8: runs, 64: runs}, 10, 0.1).axes
    np.testing.assert_allclose(left.lines[0].get_xydata(), [(5, 4), (10, 1.5)])
    np.testing.assert_allclose(left.lines[2].get_ydata(), 20)
    np.testing.assert_allclose(middle.lines[1].get_xydata(), [(0.4, 5), (0.02, 2)])
    seeds, mean = right.lines[2:]  # of batch 64
    np.testing.assert_allclose(seeds.get_xydata(), [(1, 95), (1, 85)])
    np.testing.assert_allclose(mean.get_xydata(), [(0.75, 90), (1.25, 90)])
    assert len(study.draw(dict.fromkeys(range(6), runs), 10, 0.1).axes[2].lines) == 2 * 6  # one more than colors


def test_the_eigenvalue_where_the_loss_is_first_low_enough():
    runs = np.concatenate([run((1, 5, 0), (0.2, 4, 0), (0.1, 3, 0)), run((1, 5, 0), (0.3, 6, 0), (0.25, 7, 0))])
    np.testing.assert_array_equal(study.at_loss(runs, 0.2), [4, np.nan])
    np.testing.assert_array_equal(study.at_loss(runs, 0.3), [4, 6])


@pytest.mark.covers("TR-23")
def test_the_verdict_follows_the_numbers():
    small, large = run((0.5, 3, 0.8), (0.01, 1, 0.95)), run((0.5, 6, 0.8), (0.01, 2, 0.94))
    verdict, holds = study.judge({8: small, 64: large}, 0.1, 0.5)
    assert holds
    assert "by batch size: 1.00 for 8, 2.00 for 64; where the training loss first is 0.5: 3.00 for 8, 6.00" in verdict
    assert "on 1 and 1 of 1 seeds; its eigenvalue rises to 6.0, where 2 / rate is 20." in verdict
    assert not study.judge({8: large, 64: small}, 0.1, 0.5)[1]
    better = large.copy()
    better[:, -1, 2] = 0.96  # sharper and yet better
    assert not study.judge({8: small, 64: better}, 0.1, 0.5)[1]
    assert not study.judge({8: small, 64: run((0.6, 6, 0.8), (0.6, 2, 0.9))}, 0.1, 0.5)[1]  # it never is at that loss
