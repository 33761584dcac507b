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


def test_the_commit_and_whether_tracked_files_differ(tmp_path, monkeypatch):
    def git(*words):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(["git", "-C", tmp_path, *identity, *words], check=True, capture_output=True, text=True)

    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "dlcore" / "run" / "provenance.py"))
    assert provenance.commit.__wrapped__() is None, "outside of a checkout"
    git("init")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "one")
    head = git("rev-parse", "HEAD").stdout.strip()
    assert provenance.commit.__wrapped__() == head
    (tmp_path / "untracked").write_text("1")
    assert provenance.commit.__wrapped__() == head
    (tmp_path / "file").write_text("2")
    assert provenance.commit.__wrapped__() == head + "+"


def test_the_code_that_runs_is_digested():
    digests = provenance.sources()
    path = Path(provenance.__file__)
    assert digests["dlcore/run/provenance.py"] == hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    assert "dlcore/learner.py" not in digests or "dlcore.learner" in sys.modules
    assert not [name for name in digests if "numpy" in name]
