"""Panels of a report as what they are drawn of, for tests of what a task shows."""

import pytest


@pytest.fixture
def bare_panels(monkeypatch):
    """Rows of samples are their arguments and curves the history; triage and a classifier give a list of one panel."""
    monkeypatch.setattr("dlcore.report.curves.curves", lambda history: history)
    monkeypatch.setattr("dlcore.report.generative.sample_rows", lambda *rest: rest)
    monkeypatch.setattr("dlcore.report.triage.triage_panels", lambda history, floor: [(history, floor)])
    monkeypatch.setattr("dlcore.report.classifier.classifier_panels", lambda *rest: [rest])
