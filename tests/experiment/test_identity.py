"""A run's folder and the settings of another call."""

import types

import pytest

from dlcore.experiment.flags import Flags
from dlcore.experiment.resolved_run import check_identity
from dlcore.experiment.setting import FlagError


def run(values, given=()):
    flags = Flags(values, {}, frozenset(given))
    experiment = types.SimpleNamespace(name="topic.page")
    return types.SimpleNamespace(flags=flags, identity=values, folder="folder", experiment=experiment)


def test_a_flag_younger_than_the_run_counts_where_it_is_given():
    config = {"experiment": "topic.page", "identity": {"steps": 10}}
    check_identity(run({"steps": 10, "patience": 0}), config)
    with pytest.raises(FlagError, match="made with other settings: patience=None there, 3 here"):
        check_identity(run({"steps": 10, "patience": 3}, ["patience"]), config)
    with pytest.raises(FlagError, match="made with other settings: steps=10 there, 20 here"):
        check_identity(run({"steps": 20, "patience": 0}), config)
    with pytest.raises(FlagError, match="made with other settings: steps=10 there, None here"):
        check_identity(run({"patience": 0}), config)
