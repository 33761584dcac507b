"""The runs of an ensemble: which are opened, what must agree, and whose weights are restored."""

from types import SimpleNamespace

import numpy as np
import pytest

from dlcore.experiment.flags import Flags
from dlcore.learner import Learner
from dlcore.modes import members as module
from dlcore.modes.members import members_of, restore_members
from dlcore.setting import FlagError

SPEC = {"class_names": ["a", "b"], "image_shape": [2, 2, 1]}


@pytest.fixture
def open_members(monkeypatch):
    """Open an ensemble of run "first" and the members {folder: spec}; return the runs."""

    def call(specs, **flags):
        def a_run(folder, **flags):
            return SimpleNamespace(folder=folder, experiment="page", flags=Flags(flags))

        own_flags = {"mesh": "data:2", "eval_batch_size": 9, "changed_data": True, "seed": 1, **flags}
        member_flags = {"mesh": "", "eval_batch_size": 256, "changed_data": False, "seed": 5}
        first = a_run("first", **own_flags)
        specs = {"first": SPEC, **specs}
        monkeypatch.setattr(module, "open_run", lambda folder, page: a_run(f"{folder}", **member_flags))
        monkeypatch.setattr(module, "config_of", lambda run: {"spec": specs[run.folder]})
        monkeypatch.setattr(module, "ResolvedRun", lambda page, flags: SimpleNamespace(experiment=page, flags=flags))
        return first, members_of(first)

    return call


def test_members_keep_their_settings_but_are_measured_as_the_first_run(open_members):
    first, (one, two, three) = open_members({"b": SPEC, "c": SPEC | {"mean": 1}}, members=("b", "c"))
    assert one is first
    for member in (two, three):
        assert dict(member.flags) == {"mesh": "data:2", "eval_batch_size": 9, "changed_data": True, "seed": 5}
        assert member.experiment == "page"


@pytest.mark.parametrize("flags", [{}, {"members": ()}, {"members": None}])
def test_a_run_without_members_is_alone(open_members, flags):
    first, runs = open_members({}, **flags)
    assert runs == [first]


@pytest.mark.parametrize(("name", "other"), [("class_names", ["b", "a"]), ("image_shape", None)])
def test_a_member_of_other_classes_or_images_is_refused(open_members, name, other):
    spec = {**SPEC, name: other}
    with pytest.raises(FlagError) as raised:
        open_members({"b": SPEC, "c": spec}, members=("b", "c"))
    assert str(raised.value) == f"--members=c: its {name} is {other}; allowed: {SPEC[name]}"


def test_several_runs_of_no_classifier_are_refused_as_flags(monkeypatch):
    learner = Learner(lambda rng, batch: 0.0, None, None, lambda state, batch: {"features": batch["image"]})
    run = SimpleNamespace(training=lambda spec: SimpleNamespace(build=lambda: learner))
    monkeypatch.setattr(module, "config_of", lambda run: {"spec": {}})
    with pytest.raises(FlagError, match=r"^--run: number 1 is no classifier"):
        restore_members([run, run], "none", "best", {"image": np.zeros((2, 3, 3, 1), np.float32)})
