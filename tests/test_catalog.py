import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent

CATALOG = """id,area,name,alias_of
LO-01,Losses,Hinge,
LO-02,Losses,Softmax,
ME-01,Metrics,Accuracy,
TL-01,Transfer,Reweighting,LO-02
"""

PASSING = """
import pytest

@pytest.mark.covers("LO-01")
def test_hinge():
    open("ran", "a").write("hinge ")

@pytest.mark.weekly
@pytest.mark.covers("ME-01")
def test_weekly():
    open("ran", "a").write("weekly ")
"""

CASES = """
import pytest

@pytest.mark.slow(unless=["small"])
@pytest.mark.weekly(only=["large*"])
@pytest.mark.parametrize("case", ["small", "middle", "large"])
def test_cases(case):
    open("ran", "a").write(case + " ")
"""


@pytest.fixture
def project(tmp_path):
    """A folder with this repository's conftest, its pytest settings and a catalogue of four rows."""
    tests = tmp_path / "tests"
    tests.mkdir()
    shutil.copy(HERE / "conftest.py", tests)
    shutil.copy(HERE.parent / "pyproject.toml", tmp_path)
    (tests / "catalog.csv").write_text(CATALOG)
    (tests / "test_passing.py").write_text(PASSING)
    return tmp_path


def run_pytest(project, *arguments):
    """(exit status, output) of pytest in the folder, and what ran in it."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    ran = project / "ran"
    return done.returncode, done.stdout + done.stderr, set(ran.read_text().split()) if ran.exists() else set()


def add(project, marker):
    body = 'open("ran", "a").write("more ")'
    text = f"import pytest\n\n@pytest.mark.{marker}\ndef test_more():\n    {body}\n"
    (project / "tests" / "test_more.py").write_text(text)


@pytest.mark.weekly
def test_catalog_prints_what_is_covered_and_runs_nothing(project):
    status, output, ran = run_pytest(project, "--catalog")
    assert (status, ran) == (0, set())
    assert "LO 1/2 missing: LO-02\n" in output
    assert "ME 1/1\n" in output
    assert "catalogue: 2 of 3 rows are covered" in output


@pytest.mark.slow
@pytest.mark.weekly(unless=["covers('LO-02')"])
@pytest.mark.parametrize("marker", ["covers('LO-02')", "covers('ME-01', 'TL-01')"])
def test_an_alias_stands_for_its_row(project, marker):
    add(project, marker)
    assert "LO 2/2\n" in run_pytest(project, "--catalog")[1]


@pytest.mark.slow
def test_skipped_tests_cover_nothing(project):
    add(project, "skip\n@pytest.mark.covers('LO-02')")
    assert "LO 1/2 missing: LO-02\n" in run_pytest(project, "--catalog")[1]


@pytest.mark.slow
@pytest.mark.weekly(only=["arguments2"])
@pytest.mark.parametrize("arguments", [["--catalog"], ["-n", "0"], ["-n", "2"]])
def test_a_marker_that_names_no_row_fails_every_run(project, arguments):
    add(project, "covers('LO-01', 'LO-99')")
    status, output, ran = run_pytest(project, *arguments)
    assert status not in (0, 5)
    assert "more" not in ran
    assert "tests/test_more.py: covers() names no row of catalog.csv: test_more: 'LO-99'" in output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-n", "0"], {"hinge", "small"}),
        (["-n", "0", "-m", "slow"], {"middle"}),
        (["-n", "0", "-m", "weekly"], {"weekly", "large"}),
        (["-n", "0", "-m", "weekly or not weekly"], {"hinge", "small", "middle", "weekly", "large"}),
    ],
)
def test_each_tier_runs_where_it_is_asked_for(project, arguments, expected):
    (project / "tests" / "test_more.py").write_text(CASES)
    status, _, ran = run_pytest(project, *arguments)
    assert (status, ran) == (0, expected)


def test_every_row_that_has_a_proof_has_one_in_the_default_tier(slow_only):
    """Checked where all tests are collected; one file alone says nothing."""
    assert not slow_only, f"{slow_only}: give each a test of at most a second; -m slow may hold more"


@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        ({}, [True, True, True]),
        ({"unless": ["tiny"]}, [False, True, True]),
        ({"only": ["large-*"]}, [False, True, True]),
        ({"only": ["large-4"]}, [False, True, False]),
    ],
)
def test_cases_of_a_parametrized_test_are_sorted_into_tiers(surroundings, marker, expected):
    assert [surroundings["case_is_marked"](case, **marker) for case in ("tiny", "large-4", "large-8")] == expected


def test_tests_and_files_above_their_budget_are_named(surroundings):
    seconds = {"a.py::one": 0.9, "a.py::two": 1.5, **{f"b.py::{i}": 0.6 for i in range(20)}}
    assert surroundings["by_file"](seconds) == pytest.approx({"b.py": 12.0, "a.py": 2.4})
    assert surroundings["above_budget"](seconds, 1.0) == [
        "a.py::two: 1.5 s of processor time; allowed: 1 s without @pytest.mark.slow",
        "b.py: 12.0 s of processor time; allowed: 10 s without @pytest.mark.slow",
    ]
    assert surroundings["above_budget"](seconds, 2.0) == []


@pytest.mark.slow
@pytest.mark.weekly(unless=["arguments0-expected0"])
@pytest.mark.parametrize(("arguments", "expected"), [([], {"hinge", "quick"}), (["-m", "slow"], {"quick-not", "late"})])
def test_tiers(project, arguments, expected):
    body = """
import pytest

@pytest.mark.slow(unless=["quick"])
@pytest.mark.parametrize("name", ["quick", "quick-not"])
def test_cases(name):
    open("ran", "a").write(name + " ")

@pytest.mark.slow
def test_late():
    open("ran", "a").write("late ")
"""
    (project / "tests" / "test_more.py").write_text(body)
    status, _, ran = run_pytest(project, "-n", "0", *arguments)
    assert (status, ran) == (0, expected)


@pytest.mark.weekly
def test_the_run_fails_where_a_test_is_above_its_budget(project):
    body = "import time\n\ndef test_more():\n    end = time.process_time() + 0.3\n"
    body += "    while time.process_time() < end:\n        pass\n"
    (project / "tests" / "test_more.py").write_text(body)
    assert run_pytest(project, "-n", "2", "--cpu=10")[0] == 0
    status, output, _ = run_pytest(project, "-n", "2", "--cpu=0.1")
    assert status == 1
    assert "test_more: 0." in output


@pytest.mark.weekly
def test_no_test_pays_for_the_emptied_caches(project):
    body = """
import sys
import time

import jax

def clear_caches():
    end = time.process_time() + 2
    while time.process_time() < end:
        pass
    open("ran", "a").write("cleared ")

def test_more():
    jax.clear_caches = clear_caches
    for module in list(sys.modules.values()):
        if str(vars(module).get("__file__")).endswith("conftest.py"):
            module.ROOM = 0
"""
    (project / "tests" / "test_more.py").write_text(body)
    status, output, ran = run_pytest(project, "-n", "0", "--cpu=1")
    assert "cleared" in ran
    assert status == 0, output


def test_surroundings_of_this_session():
    import os

    import hypothesis
    import jax

    if "cpu" in os.environ["JAX_PLATFORMS"]:
        assert len(jax.devices("cpu")) == 8
    assert os.environ["JAX_COMPILATION_CACHE_DIR"]
    assert hypothesis.settings.default.deadline is None
    assert hypothesis.settings.default.derandomize
