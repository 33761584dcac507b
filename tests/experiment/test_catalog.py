"""Pages by name, and the lists of topics."""

import json

import pytest

from dlcore.experiment import catalog
from dlcore.experiment.catalog import listing, overview
from dlcore.setting import FlagError
from experiments import experiment_names, find_experiment

PAGES = "experiments"


def test_the_topics_are_one_screen():
    lines = overview(PAGES, 80).splitlines()
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80
    counts = {line.split()[0]: int(line.split()[1]) for line in lines[1 : 1 + len(catalog.topics(PAGES))]}
    assert counts == {topic: len(names) for topic, names in catalog.topics(PAGES).items()}
    assert list(catalog.topics(PAGES))[-2:] == ["bench", "studies"]


def test_no_line_is_longer_than_the_terminal():
    for columns in (60, 80):
        lines = listing(PAGES, "detection", columns).splitlines()
        assert max(map(len, lines)) <= columns
    assert lines[0] == "detection"
    assert all(line.startswith(("  detection.", "      ")) for line in lines[1:])
    with pytest.raises(FlagError, match=r"topic='deteption': unknown; allowed: adversarial, backprop"):
        listing(PAGES, "deteption")


def test_a_name_with_a_slip_leads_to_those_that_are_close():
    """moko and moco share 2 * 3 of 8 letters, 0.75: too few for a stem, enough with the topic before them."""
    with pytest.raises(FlagError, match=r"self_supervised\.moko: unknown \(did you mean self_supervised\.moco"):
        find_experiment("self_supervised.moko")
    # vqvae and the stem vq_vae share 10 of 11 letters.
    with pytest.raises(FlagError, match=r"vqvae: unknown \(did you mean generative\.vq_vae"):
        find_experiment("vqvae")
    with pytest.raises(FlagError, match=r"^zzzz: unknown; allowed: the names of `dlcore experiments`$"):
        find_experiment("zzzz")


def test_the_shortest_command_of_a_page_gives_its_measured_number(tmp_path, monkeypatch):
    rows = [
        {"command": "python -m experiments.a.page --x=1 --y=2", "mean": 1.0, "metric": "test top5", "dataset": "d"},
        {"command": "python -m experiments.a.page --x=1", "mean": 0.98765, "metric": "test mean_iou", "dataset": "d"},
        {"command": "python -m experiments.a.page --x=2", "mean": None, "metric": "m", "dataset": "d"},
        {"command": "python other.py", "mean": 1.0, "metric": "m", "dataset": "d"},
    ]
    held = [
        {"command": f"python -m experiments.s.s{k}", "mean": 2.0, "metric": "gap", "dataset": "e", "holds": holds}
        for k, holds in enumerate((True, False, None))
    ]
    monkeypatch.setattr(catalog, "_folder", lambda package: tmp_path)
    assert catalog.read_measured_numbers(PAGES) == {}
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows + held))
    assert catalog.read_measured_numbers(PAGES) == {
        "a.page": "mean iou 0.9877 on d", "s.s0": "the claim held: gap 2 on e",
        "s.s1": "the claim did not hold: gap 2 on e", "s.s2": "gap 2 on e",
    }  # fmt: skip


def test_a_page_is_a_file_that_assigns_its_experiment(tmp_path, monkeypatch):
    (tmp_path / "topic").mkdir()
    (tmp_path / "topic" / "page.py").write_text('"""One line.\n\nMore."""\nexperiment = 1\n')
    (tmp_path / "topic" / "part.py").write_text("if True:\n    experiment = 1\n")
    (tmp_path / "top.py").write_text("experiment = 1\n")
    monkeypatch.setattr(catalog, "_folder", lambda package: tmp_path)
    (entry,) = experiment_names()
    assert (entry.name, entry.path.name, catalog.first_line(entry)) == ("topic.page", "page.py", "One line.")
    monkeypatch.undo()
    monkeypatch.setattr(catalog, "find_spec", lambda name: None)
    with pytest.raises(
        FlagError, match=r"^experiments: none in this folder, as an installed package has none; allowed"
    ):
        experiment_names()
