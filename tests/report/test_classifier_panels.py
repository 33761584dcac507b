"""A classifier's panels with the drawing replaced: which training images, which mistakes, and the least loss."""

import types

import numpy as np
import pytest

from dlcore.data import labeled_images
from dlcore.data.source import Source
from dlcore.report import classifier_panels


def test_up_to_ten_classes_show_their_first_image(monkeypatch):
    monkeypatch.setattr("dlcore.report.class_images.training_images", lambda *rest: rest)
    monkeypatch.setattr(labeled_images, "training_versions", lambda flags, spec, train, idx, versions: (idx, versions))
    monkeypatch.setattr(labeled_images, "preparation", lambda flags, spec: "Resized.")
    labels = np.array([2, 2, 0, 3, 0, 1])
    context = types.SimpleNamespace(
        flags=None,
        spec={"class_names": ["a", "b", "c", "d"]},
        data=types.SimpleNamespace(train=Source({"image": 10 * np.arange(6), "label": labels})),
    )
    ((images, (idx, versions), names, caption),) = classifier_panels.training_images(context)
    assert (images.tolist(), idx.tolist(), versions) == ([20, 50, 0, 30], [2, 5, 0, 3], 6)
    assert names == ["a", "b", "c", "d"]
    assert caption.startswith("Resized. The network gets them normalized")
    ((images, *_),) = classifier_panels.training_images(context, count=2)
    assert images.tolist() == [20, 30]  # of the first and the last class


@pytest.mark.parametrize(
    ("flags", "floor"),
    [({"mixup_alpha": 0.2}, None), ({"cutmix_alpha": 1.0}, None), ({"temperature": 2.0}, None), ({}, 0.0)],
)
def test_mixed_or_taught_targets_have_no_known_floor(flags, floor):
    context = types.SimpleNamespace(flags=flags, spec={"class_names": ["a", "b"]})
    assert classifier_panels._floor(context) == floor
    smoothed = classifier_panels._floor(types.SimpleNamespace(flags={"label_smoothing": 0.2}, spec=context.spec))
    # Targets of 0.9 and 0.1: their entropy.
    assert smoothed == pytest.approx(-0.9 * np.log(0.9) - 0.1 * np.log(0.1))


def test_the_most_confident_mistakes_come_first(monkeypatch):
    monkeypatch.setattr("dlcore.report.filters.first_kernel", lambda params: params)
    monkeypatch.setattr("dlcore.report.filters.filter_grid", lambda kernel, scale: np.full((1, 1, 4), scale))
    probabilities = np.array([[0.6, 0.4], [0.3, 0.7], [0.1, 0.9], [0.2, 0.8]])
    test = {"image": np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1), "label": np.array([1, 0, 0, 1])}
    context = types.SimpleNamespace(
        state=types.SimpleNamespace(params="kernel"),
        data=types.SimpleNamespace(test=types.SimpleNamespace(arrays=test)),
        outputs={"probabilities": probabilities},
    )
    pictures = classifier_panels.pictures(context)
    assert pictures["first_layer_filters"].tolist() == [[[8, 8, 8]]]
    assert pictures["worst_mistakes"][0, :, 0].tolist() == [2, 1, 0]
    context.state.params, test["label"] = None, np.array([0, 1, 1, 1])
    assert classifier_panels.pictures(context) == {}


def test_the_panels_of_a_classifier_come_in_their_order(monkeypatch):
    monkeypatch.setattr("dlcore.report.curves.curves", lambda history: history)
    monkeypatch.setattr("dlcore.report.triage.triage_panels", lambda *rest: [rest])
    monkeypatch.setattr("dlcore.report.classifier.classifier_panels", lambda *rest: [rest])
    monkeypatch.setattr(labeled_images, "is_augmented", lambda flags, spec: "augmented")
    monkeypatch.setattr(classifier_panels, "training_images", lambda context: ["training images"])
    names, history = ["a", "b"], [{"loss": 1.0, "calibration/ece": 0.5}]
    context = types.SimpleNamespace(
        flags={}, spec={"class_names": names}, history=history, numbers={"loss": 1}, arrays={"confusion": 2},
        data=types.SimpleNamespace(test=Source({"image": np.arange(3), "label": np.arange(3)})),
        outputs={"probabilities": "p"}, state=types.SimpleNamespace(params="params"),
    )  # fmt: skip
    curves, triage, training, classifier = classifier_panels.panels(context)
    assert (curves, triage, training) == ([{"loss": 1.0}], (history, 0.0, "augmented"), "training images")
    assert (classifier[0], classifier[3:]) == ({"loss": 1, "confusion": 2}, ("p", names, "params", ""))
    assert [column.tolist() for column in classifier[1:3]] == [[0, 1, 2], [0, 1, 2]]
