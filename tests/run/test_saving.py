"""When a checkpoint is due, and which score is the best."""

from types import SimpleNamespace

import pytest

from dlcore.run import saving as module
from dlcore.run.saving import Saver, Saving


@pytest.fixture
def clock(monkeypatch):
    """A clock that shows `now`."""
    clock = SimpleNamespace(now=100.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def saver(tmp_path, clock):
    return lambda **fields: Saver(Saving(**fields), tmp_path)


def test_a_checkpoint_is_due_after_its_steps_or_its_seconds(saver, clock):
    by_steps = saver(steps=10, seconds=0)
    assert [by_steps.due(step, False) for step in (5, 10, 15, 20)] == [False, True, False, True]
    clock.now = 1e6
    assert not by_steps.due(5, True), "0 seconds set no limit"
    clock.now = 100.0
    by_time = saver(seconds=60)
    by_time.start(0)
    found = []
    for clock.now in (159.0, 160.0, 200.0):
        found.append(by_time.due(1, False))
    assert found == [False, True, True]
    by_time.start(1)
    assert not by_time.due(2, False), "the clock starts again with each checkpoint"
    clock.now = 260.0
    assert by_time.due(3, False)
    assert not Saver(Saving(seconds=1e-9), None).due(1, True), "without a folder nothing is saved by time"


def test_several_processes_ask_their_clocks_at_log_steps_alone(saver, clock, monkeypatch):
    from jax.experimental import multihost_utils

    late = saver(seconds=60)
    monkeypatch.setattr(module.jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost_utils, "broadcast_one_to_all", lambda value: value)
    clock.now = 200.0
    assert (late.due(1, at_log=False), late.due(1, at_log=True)) == (False, True)


@pytest.mark.parametrize(
    ("mode", "scores"), [("max", [0.5, None, 0.5, 0.75, None]), ("min", [0.5, 0.25, None, None, None])]
)
def test_a_score_counts_if_none_before_was_better(mode, scores):
    saver = Saver(Saving(monitor="m", mode=mode), None)
    assert [saver.score({"m": value, "n": 9.0}) for value in (0.5, 0.25, 0.5, 0.75, None)] == scores
    assert saver.best == (0.75 if mode == "max" else 0.25)
    with pytest.raises(ValueError, match="monitor='m': not a validation metric; allowed: n, o"):
        saver.score({"n": 9.0, "o": 1.0})
    assert Saver(Saving(), None).score({"m": 1.0}) is None


def test_without_a_folder_there_is_nothing_to_restore_or_to_write():
    one = Saver(Saving(monitor="m"), None)
    one.start(0)
    one.save(1, "carry", {}, None)
    one.write_finished(1, stopped=False)
    one.wait()
    one.close()
    assert (one.restore(None), one.best_step(), one.finished_save(), one.finished_step()) == (None,) * 4
