"""When a checkpoint is due, which score is the best, and what is written at the end."""

import json
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


class Store:
    """Checkpoints that note what is saved."""

    def __init__(self, *args, **words):
        self.log, self.failure, self.finished_save = [], None, 30

    def check(self):
        self.log.append("check")

    def save(self, *args):
        self.log.append(args)

    def wait(self):
        self.log.append("wait")

    def close(self):
        self.log.append("close")

    def best_step(self):
        return 20

    def restore(self, abstract):
        return ("restored", abstract)


@pytest.fixture
def saver(monkeypatch, tmp_path, clock):
    monkeypatch.setattr(module, "Checkpoints", Store)
    return lambda **fields: Saver(Saving(**fields), tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"keep_last": 0}, "saving.keep_last=0: too small; allowed: at least 1"),
        ({"steps": -1}, "saving.steps=-1: negative; allowed: at least 0"),
        ({"seconds": -0.5}, "saving.seconds=-0.5: negative; allowed: at least 0"),
        ({"mode": "best"}, "saving.mode='best': unknown; allowed: max, min"),
    ],
)
def test_fields_out_of_range_are_named(fields, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Saving(**fields)
    Saving(keep_last=1, steps=0, seconds=0, mode="min")


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
    by_time.save(1, "carry", {}, None)
    assert not by_time.due(2, False), "the clock starts again with each checkpoint"
    clock.now = 260.0
    assert by_time.due(3, False)
    by_time.start(3)
    assert not by_time.due(4, False)
    assert not Saver(Saving(seconds=1e-9), None).due(1, True), "without a folder nothing is saved by time"


def test_several_processes_ask_their_clocks_at_log_steps_alone(saver, clock, monkeypatch):
    from jax.experimental import multihost_utils

    monkeypatch.setattr(module.jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost_utils, "broadcast_one_to_all", lambda value: value)
    late = saver(seconds=60)
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


def test_a_step_is_saved_once_with_the_best_score_so_far(saver):
    one = saver(monitor="m")
    one.score({"m": 0.5})
    one.start(10)
    one.save(10, "carry", {"a": 1}, 0.5)
    assert one.store.log == [], "the restored step is on disk"
    one.save(20, "carry", {"a": 1}, 0.5)
    one.save(20, "carry", {"a": 1}, 0.5)
    assert one.store.log == ["check", (20, "carry", {"a": 1, "best": 0.5}, 0.5)]
    one.start(0)
    one.save(0, "carry", {}, None)
    assert one.store.log[-1] == (0, "carry", {"best": 0.5}, None), "a run that begins may save its first state"


def test_the_end_is_written_after_the_last_checkpoint_and_not_where_that_failed(saver, tmp_path, monkeypatch):
    one = saver()
    assert one.finished_step() is None
    one.store.failure = OSError("full")
    one.write_finished(40, stopped=True)
    assert one.finished_step() is None
    one.store.failure = None
    monkeypatch.setattr(module, "is_first", lambda: False)
    one.write_finished(40, stopped=True)
    assert one.finished_step() is None, "one process of several writes"
    monkeypatch.setattr(module, "is_first", lambda: True)
    one.write_finished(40, stopped=True)
    assert one.store.log == ["wait"] * 3
    assert json.loads((tmp_path / "finished.json").read_text()) == {"step": 40, "stopped": True}
    assert one.finished_step() == 40
    assert (one.best_step(), one.finished_save(), one.restore("shapes")) == (20, 30, ("restored", "shapes"))
    one.wait()
    one.close()
    assert one.store.log[-2:] == ["wait", "close"]


def test_without_a_folder_there_is_nothing_to_restore_or_to_write():
    one = Saver(Saving(monitor="m"), None)
    one.start(0)
    one.save(1, "carry", {}, None)
    one.write_finished(1, stopped=False)
    one.wait()
    one.close()
    assert (one.restore(None), one.best_step(), one.finished_save(), one.finished_step()) == (None,) * 4


def test_a_store_keeps_as_many_and_ranks_as_asked(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(module, "Checkpoints", lambda *args, **words: asked.append((args, words)))
    Saver(Saving(keep_last=3, mode="min"), tmp_path)
    assert asked == [((tmp_path / "checkpoints",), {"keep_last": 3, "mode": "min"})]
