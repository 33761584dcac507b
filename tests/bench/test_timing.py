"""The timing of the benches by a clock that moves as the functions say, and what every bench has in common."""

import importlib
import inspect
import json
import time
from pathlib import Path

import pytest

from dlcore.experiment import Experiment, Study
from dlcore.experiment.study import run_study
from experiments.bench import conv_algorithms, kill_resume, knn
from experiments.bench.timing import Times, advancing, bar_chart, interleaved, ratio

FOLDER = Path(kill_resume.__file__).parent
LIBRARIES = {"__init__", "timing", "compare_runs"}
BENCHES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in LIBRARIES)


def test_a_step_goes_on_from_where_it_ended():
    call = advancing(lambda n: (n + 1, 10 * n), 3)
    assert [call(), call()] == [30, 40]


@pytest.fixture
def clock(monkeypatch):
    """A clock that only `wait` moves."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return now, wait


def test_times_are_those_of_one_step(clock):
    now, wait = clock
    times = interleaved({"a": lambda: wait(4.0), "b": lambda: wait(1.0)}, 3, steps=2, cpu_clock=lambda: 3 * now[0])
    assert times == {"a": Times([2.0] * 3, [6.0] * 3), "b": Times([0.5] * 3, [1.5] * 3)}
    assert ratio(times, "a", "b") == (4.0, 4.0, 4.0, 4.0)
    assert times["a"].median == 2.0


def test_short_functions_are_called_until_a_turn_is_long_enough(clock):
    _, wait = clock
    calls = []

    def short():
        calls.append(0)
        wait(0.25)

    times = interleaved({"short": short}, 2, least_seconds=1.0)
    assert times["short"].wall == [0.25, 0.25]
    assert len(calls) == 2 + 2 * (1 + 4), "two warm calls; in each turn one more and then four"


def test_a_ratio_compares_medians_and_turns():
    times = {"above": Times([2.0, 9.0, 3.0], [1.0, 1.0, 4.0]), "below": Times([1.0, 3.0, 6.0], [2.0, 2.0, 1.0])}
    assert ratio(times, "above", "below") == (1.0, 0.5, 3.0, 0.5)
    assert ratio(times, "above", "below").rows("a over b")["a over b"] == 1.0


def test_a_chart_has_a_bar_for_each_value():
    figure = bar_chart({"one": {"a": 1.0, "b": 2.0}, "two": {"b": 3.0}}, "ratio")
    assert sorted(patch.get_width() for patch in figure.axes[0].patches) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("name", BENCHES)
def test_every_bench_is_a_study_with_a_smoke_run(name):
    experiment = importlib.import_module(f"experiments.bench.{name}").experiment
    if isinstance(experiment, Experiment):
        return
    assert isinstance(experiment, Study)
    parameters = inspect.signature(experiment.function).parameters
    assert experiment.smoke
    assert experiment.smoke.keys() <= parameters.keys()
    assert experiment.name == f"bench.{name}"
    assert not parameters.keys() & {"batch", "rate", "repeats", "seeds"}


@pytest.mark.slow
@pytest.mark.parametrize("bench", [conv_algorithms, knn])
def test_a_bench_leaves_a_report(bench, tmp_path):
    assert run_study(bench.experiment, ["--smoke", "--num_repeats=1", f"--run_dir={tmp_path}"]) == 0
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert any("over" in name for name in numbers)
    assert (tmp_path / "ratios.png").exists()
    assert (tmp_path / "report.html").exists()
