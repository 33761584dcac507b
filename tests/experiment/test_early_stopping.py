"""`--patience`: what stops a run early, and where it cannot."""

import types

import pytest

from dlcore.experiment.experiment import Setup
from dlcore.experiment.resolve import resolve
from dlcore.experiment.setting import FlagError
from dlcore.modes.train import _early_stopping
from experiments.classification import supervised


def run(patience, monitor="accuracy", mode="max"):
    experiment = types.SimpleNamespace(monitor=monitor, monitor_mode=mode)
    return types.SimpleNamespace(flags=types.SimpleNamespace(patience=patience), experiment=experiment)


def splits(valid):
    return types.SimpleNamespace(valid=valid)


def test_the_hook_goes_by_the_measure_that_selects_the_best():
    assert _early_stopping(run(0), Setup(None, {}, 1, None, None), splits(None)) == []
    (hook,) = _early_stopping(run(3, "fid", "min"), Setup(None, {}, 1, None, None), splits(object()))
    assert (hook.monitor, hook.patience, hook.sign) == ("valid/fid", 3, -1)


def test_without_a_validation_split_there_is_nothing_to_wait_for():
    with pytest.raises(FlagError, match=r"--patience=3: no validation to compare; allowed: 0, or data with"):
        _early_stopping(run(3), Setup(None, {}, 1, None, None), splits(None))


def test_flags_are_checked_before_anything_is_read():
    experiment = supervised.experiment
    assert resolve(experiment, ["--patience=4", "--milestones=30,60,90"]).milestones == (30.0, 60.0, 90.0)
    with pytest.raises(FlagError, match="--milestones=60,30: not rising"):
        resolve(experiment, ["--milestones=60,30"])
    with pytest.raises(FlagError, match="--patience=-1"):
        resolve(experiment, ["--patience=-1"])
