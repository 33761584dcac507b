"""The distance between surfaces of organs: means by hand, missed organs, and void."""

import numpy as np
import pytest

from dlcore.evaluators.surfaces import surface_evaluator


def rows(*lines):
    return np.array(lines, np.uint8).reshape(len(lines), 1, 1, -1)


@pytest.mark.covers("SG-19")
def test_distances_by_hand():
    """Voxels of width 2. Organ 1: a shift by one voxel is 2 mm, equal masks 0 mm. Organ 2: missed in volume 1.

    Of four true organs one is missed. The mean over organs is ((2 + 0) / 2 + 4) / 2.
    """
    evaluator = surface_evaluator(3, (1.0, 1.0, 2.0), source="volumes")
    assert (evaluator.source, evaluator.names) == ("volumes", ("surface_distance", "missed_organs"))
    targets = rows([1, 0, 2, 0, 0], [0, 1, 0, 2, 0])
    classes = rows([0, 1, 0, 0, 2], [0, 1, 0, 0, 0])
    acc = evaluator.add(None, {"classes": classes[:1]}, {"semantic": targets[:1]})
    values = evaluator.finish(evaluator.add(acc, {"classes": classes[1:]}, {"semantic": targets[1:]}))
    np.testing.assert_allclose(values["surface_distance_by_organ"], [1, 4])
    assert values["surface_distance"] == pytest.approx(2.5)
    assert values["missed_organs"] == 0.25


def test_void_is_outside_and_absent_organs_do_not_count():
    evaluator = surface_evaluator(3, (1.0, 1.0, 1.0))
    # The second voxel of organ 1 lies in void; organ 2 has no true voxel.
    values = evaluator.finish(evaluator.add(None, {"classes": rows([1, 1, 2])}, {"semantic": rows([1, 255, 0])}))
    assert values["surface_distance"] == 0
    assert np.isnan(values["surface_distance_by_organ"][1])
    assert values["missed_organs"] == 0
    empty = evaluator.finish(evaluator.add(None, {"classes": rows([0, 1])}, {"semantic": rows([0, 0])}))
    assert empty["surface_distance"] is None
    assert empty["missed_organs"] is None


def test_a_bad_spacing_is_refused():
    with pytest.raises(
        ValueError, match=r"spacing=\(0.0, 1.0, 1.0\): not the sides of a voxel; allowed: three positive"
    ):
        surface_evaluator(2, (0.0, 1.0, 1.0))
