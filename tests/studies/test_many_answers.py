"""Right answers by hand, and the verdict on outputs that are drawn."""

import numpy as np
import pytest

from experiments.studies import many_answers as study


def test_answers_stand_on_a_circle_and_turn_with_x():
    """Two answers at x = 0 are (1, 0) and (-1, 0); at x = 1/2 both have turned by a quarter."""
    right = np.asarray(study.all_targets(np.array([[0.0], [0.5]]), 2))
    np.testing.assert_allclose(right, [[[1, 0], [-1, 0]], [[0, 1], [0, -1]]], atol=1e-6)


def test_shares_count_outputs_near_any_answer_and_answers_near_any_output():
    """Of three outputs two are within 0.2 of the first answer, none of the second; their mean is of neither."""
    right = np.array([[[1.0, 0], [-1, 0]]])
    assert study.fractions(np.array([[[1.1, 0], [0.9, 0.1], [0, 0]]]), right) == pytest.approx(
        {"right": 2 / 3, "reached": 0.5}
    )
    assert study.fractions(np.zeros((1, 4, 2)), right) == {"right": 0, "reached": 0}


ONE, DRAWN = [{"right": 0.0, "reached": 0.0}] * 2, [{"right": 0.7, "reached": 1.0}, {"right": 0.8, "reached": 0.9}]


@pytest.mark.parametrize(
    ("one", "drawn", "holds"),
    [
        (ONE, DRAWN, True),
        (DRAWN, ONE, False),  # the arms swapped
        (ONE, [DRAWN[0], {"right": 0.4, "reached": 1.0}], False),
        (ONE, [DRAWN[0], {"right": 0.9, "reached": 0.5}], False),
    ],
)
def test_the_verdict(one, drawn, holds):
    assert study.report(dict(zip(study.ARMS, (one, drawn), strict=True))).holds is holds


@pytest.mark.weekly
def test_one_output_goes_to_the_center_and_random_ones_do_not():
    drawn = {arm: study.outputs(arm, 0, 400, 2, 5)[0] for arm in study.ARMS}
    assert np.linalg.norm(drawn["one output"], axis=-1).mean() < 0.3
    assert np.linalg.norm(drawn["random outputs"], axis=-1).mean() > 0.6
