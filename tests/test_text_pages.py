"""The two pages of text: linked, on their subject, and with the numbers of the ledger."""

import json
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"


def text_of(name):
    assert f"](docs/{name})" in (DOCS.parent / "README.md").read_text(), "the README links each page"
    return (DOCS / name).read_text()


@pytest.mark.covers("MI-09")
def test_the_outlook_speaks_of_computer_science_mathematics_and_hardware():
    sections = re.split(r"^## ", text_of("outlook.md"), flags=re.MULTILINE)
    assert [section.splitlines()[0] for section in sections[1:]] == ["Computer science", "Mathematics", "Hardware"]
    assert all(len(section.split()) > 80 for section in sections[1:])
    assert "prediction" in sections[3]
    assert all(re.search(r"arXiv:|Nature", section) for section in sections[1:])


@pytest.mark.covers("MI-10")
def test_the_semantic_gap_has_the_numbers_of_the_ledger_and_views_their_measures():
    text = text_of("semantic_gap.md")
    assert "viewpoint entropy" in text
    assert "next best view" in text
    rows = [json.loads(line) for line in (DOCS.parent / "experiments" / "results.jsonl").read_text().splitlines()]
    found = {row["id"]: row for row in rows}
    table = {
        name: [float(v) for v in values]
        for name, *values in re.findall(r"^\| (pixels|features)[a-z ]* \| ([\d.]+) % \| ([\d.]+) %", text, re.MULTILINE)
    }
    for column, name in enumerate(("feature-space-digits", "feature-space-cifar10")):
        row = found[name]
        assert table["features"][column] == pytest.approx(100 * row["mean"], abs=0.06)
        assert table["pixels"][column] == pytest.approx(100 * row["baseline"]["value"], abs=0.06)
