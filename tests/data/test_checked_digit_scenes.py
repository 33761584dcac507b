"""Scenes of a digit: their numbers, and a grid that does not fill them."""

import numpy as np
import pytest

from dlcore.data.digit_scenes import DigitScenes
from dlcore.experiment.resolve import resolve
from dlcore.setting import FlagError
from experiments.classification.hard_attention import experiment


def test_half_as_many_scenes_validate_as_test():
    splits = DigitScenes(scene_size=20, num_scenes=6, num_test_scenes=4).load()
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [6, 2, 4]
    assert splits.test.arrays["image"].shape == (4, 20, 20, 1)
    assert splits.spec["scene_size"] == 20
    assert set(np.unique(splits.train.arrays["label"])) <= set(range(10))


def test_the_places_of_the_grid_fill_a_scene():
    experiment.run(resolve(experiment, ["--scene_size=48"])).check()
    with pytest.raises(FlagError, match=r"--scene_size=50: not a multiple of --network.grid=12; allowed: 12, 24"):
        experiment.run(resolve(experiment, ["--scene_size=50"])).check()
