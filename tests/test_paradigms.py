"""docs/paradigms.md: every learner and every classical technique stands under one way to learn, in its file's words."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "paradigms.md").read_text(encoding="utf-8")


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def has_learner(path):
    return any(isinstance(node, ast.FunctionDef) and node.name == "learner" for node in tree(path).body)


def entries():
    return re.findall(r"^- \[(\S+)\]\(\.\./dlcore/(\S+)\): (.*)$", PAGE, re.MULTILINE)


@pytest.mark.covers("DD-32")
def test_every_learner_stands_under_exactly_one_paradigm():
    learners = {p.relative_to(ROOT / "dlcore").as_posix() for p in (ROOT / "dlcore").rglob("*.py") if has_learner(p)}
    listed = [path for _, path, _ in entries()]
    assert len(listed) == len(set(listed))
    # A new learner needs no line where its topic's learners all stand under one paradigm: it stands there too.
    topics = {}
    for section, text in re.findall(r"^## (.*?)$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL):
        for path in re.findall(r"^- \[(\S+)\]\(\.\./dlcore/", text, re.MULTILINE):
            topics.setdefault(path.split("/")[0], set()).add(section)
    unclear = {path for path in learners - set(listed) if len(topics.get(path.split("/")[0], ())) != 1}
    assert unclear == set()


@pytest.mark.covers("DD-32")
def test_links_lead_to_files_and_sentences_are_theirs():
    assert len(entries()) > 20
    for name, path, words in entries():
        assert name == path
        docstring = ast.get_docstring(tree(ROOT / "dlcore" / path))
        assert words == docstring.split("\n\n")[0].replace("\n", " "), path


@pytest.mark.covers("DD-32")
def test_the_ways_to_learn_are_all_there():
    sections = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    assert sections[:6] == [
        "Supervised",
        "Unsupervised",
        "Self-supervised",
        "Semi-supervised",
        "Weakly supervised",
        "Reinforcement",
    ]
    for part in PAGE.split("## ")[1:]:
        assert "- [" in part or "None yet." in part
        assert ("- [" in part) != ("None yet." in part)
    for word in ("cherry", "icing", "cake"):
        assert word in PAGE
