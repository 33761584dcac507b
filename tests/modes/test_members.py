"""The runs of an ensemble: which are opened, what must agree, and whose weights are restored."""

from types import SimpleNamespace

import pytest

from dlcore.experiment.flags import Flags
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


@pytest.fixture
def restored(monkeypatch):
    """Restore the runs of these names on fakes that return what they were called with."""

    def call(*names):
        runs = [
            SimpleNamespace(name=name, training=lambda spec: SimpleNamespace(build=lambda: f"learner of {spec}"))
            for name in names
        ]
        monkeypatch.setattr(module, "config_of", lambda run: {"spec": run.name})
        monkeypatch.setattr(module, "average_views", lambda *args: ("views", *args))
        monkeypatch.setattr(
            module, "restore_state", lambda run, *args: ({"a": 7, "b": 8}[run.name], (f"state of {run.name}", *args))
        )
        return restore_members(runs, "flip", "best", "example")

    return call


def views(name):
    return ("views", f"learner of {name}", "flip", "example")


def test_one_run_is_its_learner_over_the_views_and_its_state(restored):
    assert restored("a") == (views("a"), 7, ("state of a", views("a"), "example", "best"))


def test_several_runs_are_their_ensemble_and_each_has_its_own_state(restored, monkeypatch):
    monkeypatch.setattr(module, "ensemble", lambda *args: ("ensemble", *args))
    learner, step, states = restored("b", "a")
    assert learner == ("ensemble", [views("b"), views("a")], "example")
    assert step == 8, "that of the first run"
    assert states == tuple((f"state of {name}", views(name), "example", "best") for name in "ba")


def test_several_runs_of_no_classifier_are_refused_as_flags(restored, monkeypatch):
    def refuse(learners, example):
        raise ValueError("run: number 1 is no classifier")

    monkeypatch.setattr(module, "ensemble", refuse)
    with pytest.raises(FlagError, match=r"^--run: number 1 is no classifier$"):
        restored("a", "b")
