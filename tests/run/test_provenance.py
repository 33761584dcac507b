"""What a run writes down about itself: its command, its commit, and the code that it ran."""

import hashlib
import subprocess
import sys
import types
from pathlib import Path

import pytest

from dlcore.run import provenance


@pytest.mark.parametrize(
    ("argv", "module", "text"),
    [
        (["/x/page.py", "--seed=1"], "experiments.page", "python -m experiments.page --seed=1"),
        (["/x/page.py", "--name=a b"], None, "python page.py '--name=a b'"),
        (["/bin/dlcore", "run", "classification.supervised", "--l2=1"], "x", "classification.supervised --l2=1"),
        (["/bin/dlcore", "run", "experiments.a.b"], None, "python -m experiments.a.b"),
        (["/bin/dlcore", "convert", "a"], None, "python dlcore convert a"),
    ],
)
def test_the_command_is_what_a_shell_takes(argv, module, text, monkeypatch):
    spec = None if module is None else types.SimpleNamespace(name=module)
    monkeypatch.setitem(sys.modules, "__main__", types.SimpleNamespace(__spec__=spec))
    monkeypatch.setattr(sys, "argv", argv)
    assert provenance.command() == (text if text.startswith("python") else f"python -m experiments.{text}")


def test_an_inner_command_has_its_own_name_and_time(monkeypatch):
    spec = types.SimpleNamespace(name="experiments.outer")
    monkeypatch.setitem(sys.modules, "__main__", types.SimpleNamespace(__spec__=spec))
    monkeypatch.setattr(sys, "argv", ["outer.py", "--seed=1"])
    age = provenance.process_seconds()
    with provenance.inner_command("experiments.inner", ["--name=a b"]):
        assert provenance.command() == "python -m experiments.inner '--name=a b'"
        assert 0 <= provenance.process_seconds() < age
    assert provenance.command() == "python -m experiments.outer --seed=1"
    assert provenance.process_seconds() >= age


def test_the_code_that_runs_is_digested():
    digests = provenance.sources()
    path = Path(provenance.__file__)
    assert digests["dlcore/run/provenance.py"] == hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    assert "dlcore/learner.py" not in digests or "dlcore.learner" in sys.modules
    assert not [name for name in digests if "numpy" in name]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A commit of a checkout with one file of code, that provenance takes for its own."""
    for path in ("dlcore/run/provenance.py", "experiments/page.py", "experiments/results.jsonl", "README.md"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    identity = ["-c", "user.name=x", "-c", "user.email=x@y"]
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "dlcore" / "run" / "provenance.py"))

    def measure(path=None, text="1"):
        if path:
            (tmp_path / path).write_text(text)
        provenance.changed_files.cache_clear()
        provenance.commit.cache_clear()
        return provenance.changed_files(), provenance.commit()

    yield measure
    provenance.changed_files.cache_clear()
    provenance.commit.cache_clear()


def test_outside_of_a_checkout(tmp_path, checkout, monkeypatch):
    monkeypatch.setattr(provenance, "__file__", str(tmp_path.parent / "elsewhere" / "dlcore" / "run" / "provenance.py"))
    assert checkout() == ((), None)


def test_a_clean_checkout(checkout):
    changed, commit = checkout()
    assert changed == ()
    assert len(commit) == 40


@pytest.mark.parametrize("path", ["README.md", "experiments/results.jsonl", "experiments/notes.md", "mine.py"])
def test_files_without_effect_on_results_are_no_change(checkout, path):
    changed, commit = checkout(path)
    assert changed == ()
    assert "+" not in commit


@pytest.mark.parametrize("path", ["experiments/page.py", "experiments/mine.py", "dlcore/new.py"])
def test_modified_and_untracked_code_is_named(checkout, path):
    changed, commit = checkout(path)
    assert changed == (path,)
    assert commit.endswith("+")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model name\t: A\nflags\t\t: sse avx avx2\n\nmodel name\t: B\nflags\t\t: sse\n", "A, avx2"),
        ("model name\t: A\nflags\t\t: avx avx2 avx512f avx512bw\n", "A, avx512f"),
        ("model name\t: A\nflags\t\t: sse\n", "A"),
    ],
)
def test_the_processor_is_named_with_its_vectors(monkeypatch, text, expected):
    monkeypatch.setattr(provenance.Path, "read_text", lambda self: text)
    assert provenance._cpu() == expected


@pytest.mark.parametrize(
    ("facts", "start"),
    [
        ({"platform": "cpu", "kind": "cpu", "count": 1}, "2 CPU cores ("),
        ({"platform": "cpu", "kind": "cpu", "count": 8}, "8 devices on 2 CPU cores ("),
        ({"platform": "gpu", "kind": "NVIDIA H100", "count": 8}, "8 x NVIDIA H100"),
    ],
)
def test_the_hardware_says_how_many_devices(facts, start, monkeypatch):
    monkeypatch.setattr(provenance, "devices", lambda: facts)
    monkeypatch.setattr(provenance.os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    assert provenance.hardware().startswith(start)


def test_packages_that_are_not_installed_have_no_version(monkeypatch):
    def version(package):
        if package != "jax":
            raise provenance.importlib.metadata.PackageNotFoundError
        return "0.10"

    monkeypatch.setattr(provenance.importlib.metadata, "version", version)
    assert provenance.versions() == {"python": provenance.platform.python_version(), "jax": "0.10"}


def without_files(monkeypatch):
    def missing(path, *arguments, **options):
        raise OSError

    monkeypatch.setattr(provenance.Path, "read_text", missing)


def test_a_process_is_as_old_as_the_system_says(monkeypatch):
    """Of proc(5): field 22 is the start in ticks after boot; the name in parentheses may hold any character."""
    fields = ["7 (a) (b c) S", *map(str, range(4, 22)), "700", "23"]
    texts = {"/proc/self/stat": " ".join(fields), "/proc/uptime": "100.5 3.0\n"}
    monkeypatch.setattr(provenance.Path, "read_text", lambda path: texts[str(path)])
    monkeypatch.setattr(provenance.os, "sysconf", lambda name: {"SC_CLK_TCK": 250}[name])
    assert provenance.process_seconds() == pytest.approx(100.5 - 700 / 250)


def test_without_a_file_of_the_process_its_time_counts_from_the_import(monkeypatch):
    without_files(monkeypatch)
    monkeypatch.setattr(provenance.time, "monotonic", lambda: provenance.IMPORTED + 7.5)
    assert provenance.process_seconds() == pytest.approx(7.5)


def test_without_a_table_of_processors_the_platform_names_one(monkeypatch):
    without_files(monkeypatch)
    monkeypatch.setattr(provenance.platform, "processor", lambda: "")
    monkeypatch.setattr(provenance.platform, "machine", lambda: "arm64")
    monkeypatch.setattr(provenance.os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    monkeypatch.setattr(provenance, "devices", lambda: {"platform": "cpu", "kind": "cpu", "count": 1})
    assert provenance.hardware() == "3 CPU cores (arm64)"
