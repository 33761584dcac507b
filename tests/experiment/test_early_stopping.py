"""`--patience`: what stops a run early, and where it cannot."""

import types

import numpy as np
import pytest

from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.experiment.resolve import resolve
from dlcore.modes.train import _early_stopping, _plateau
from dlcore.optim.plateau import has_plateau_scale
from dlcore.setting import FlagError
from experiments.classification import supervised


def run(patience, monitor="accuracy", mode="max"):
    experiment = types.SimpleNamespace(parts=types.SimpleNamespace(monitor=monitor, mode=mode))
    return types.SimpleNamespace(flags=types.SimpleNamespace(patience=patience), experiment=experiment)


def splits(valid):
    return types.SimpleNamespace(valid=valid)


def test_the_hook_goes_by_the_measure_that_selects_the_best():
    assert _early_stopping(run(0), Run(None, Flags({}), {}), splits(None)) == []
    (hook,) = _early_stopping(run(3, "fid", "min"), Run(None, Flags({}), {}), splits(object()))
    assert (hook.monitor, hook.patience, hook.sign) == ("valid/fid", 3, -1)


def test_without_a_validation_split_there_is_nothing_to_wait_for():
    with pytest.raises(FlagError, match=r"--patience=3: no validation to compare; allowed: 0, or data with"):
        _early_stopping(run(3), Run(None, Flags({}), {}), splits(None))


def test_flags_are_checked_before_anything_is_read():
    experiment = supervised.experiment
    assert resolve(experiment, ["--patience=4", "--milestones=30,60,90"]).milestones == (30.0, 60.0, 90.0)
    with pytest.raises(FlagError, match="--milestones=60,30: not rising"):
        resolve(experiment, ["--milestones=60,30"])
    with pytest.raises(FlagError, match="--patience=-1"):
        resolve(experiment, ["--patience=-1"])


def plateau(monitor="accuracy", mode="max", **flags):
    experiment = types.SimpleNamespace(parts=types.SimpleNamespace(monitor=monitor, mode=mode))
    values = {"schedule": "plateau", "milestones": None, "plateau_patience": 2, "decay_factor": 0.2} | flags
    return types.SimpleNamespace(flags=Flags(values), experiment=experiment)


@pytest.mark.covers("SC-05")
def test_the_plateau_goes_by_the_measure_that_selects_the_best():
    setup = Run(None, Flags({}), {})
    (hook,) = _plateau(plateau("fid", "min"), setup, splits(object()))
    assert (hook.monitor, hook.plateau.patience, hook.plateau.factor, hook.plateau.maximize) == (
        "valid/fid", 2, 0.2, False,
    )  # fmt: skip
    assert _plateau(plateau(schedule="cosine"), setup, splits(None)) == []
    assert _plateau(plateau(milestones=(3.0,)), setup, splits(None)) == [], "milestones replace the schedule"
    with pytest.raises(FlagError, match=r"--schedule=plateau: no validation to compare; allowed: the others"):
        _plateau(plateau(), setup, splits(None))
    with pytest.raises(FlagError, match="no validation to compare"):
        _plateau(plateau(monitor=None), setup, splits(object()))
    with pytest.raises(FlagError, match=r"--decay_factor=1\.0: never lowers the rate; allowed: below 1 under"):
        _plateau(plateau(decay_factor=1.0), setup, splits(object()))


def test_the_optimizer_of_the_flags_has_the_scale_of_the_plateau_and_no_rate_is_known_before():
    experiment, params = supervised.experiment, {"w": np.ones(2, np.float32)}
    plateau = experiment.run(resolve(experiment, ["--schedule=plateau"]), {"train_size": 100}, 10)
    assert has_plateau_scale(plateau.optimizer().init(params))
    assert plateau.rate_of_step() is None
    cosine = plateau.replace(flags=resolve(experiment, []))
    assert not has_plateau_scale(cosine.optimizer().init(params))
    assert cosine.rate_of_step()(0) >= 0
