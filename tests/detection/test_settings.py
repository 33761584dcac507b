"""The settings of a detector's learner reach the parts that use them."""

import pytest

from dlcore.detection import detr, fcos, retinanet, single_stage, ssd, yolo
from dlcore.detection.anchor_detector import Matching
from dlcore.detection.dense import Thresholds


def parts(module, monkeypatch, **settings):
    """What `module.learner` passes on to `detector_learner`."""
    passed = {}
    monkeypatch.setattr(module, "detector_learner", lambda **fields: passed.update(fields))
    module.learner(model=None, optimizer=None, **settings)
    return passed


@pytest.mark.parametrize("module", [fcos, retinanet, single_stage, ssd, yolo], ids=lambda module: module.__name__)
def test_thresholds_reach_the_step_from_scores_to_detections(module, monkeypatch):
    passed = parts(module, monkeypatch, thresholds=Thresholds(0.1, 0.2, 3, 4))
    assert passed["postprocess"].keywords == {
        "score_thresh": 0.1,
        "nms_thresh": 0.2,
        "topk_candidates": 3,
        "detections_per_img": 4,
    }


@pytest.mark.parametrize("module", [retinanet, single_stage], ids=lambda module: module.__name__)
def test_matching_reaches_the_losses(module, monkeypatch):
    losses = parts(module, monkeypatch, matching=Matching(0.7, 0.3))["losses"]
    assert {"fg_iou_thresh": 0.7, "bg_iou_thresh": 0.3}.items() <= losses.keywords.items()


def test_costs_and_weights_of_detr_reach_the_losses(monkeypatch):
    costs, weights = detr.MatchingCosts(2.0, 3.0, 4.0), detr.LossWeights(0.5, 6.0, 7.0)
    passed = parts(detr, monkeypatch, costs=costs, weights=weights, auxiliary=False, score_thresh=0.3)
    assert passed["losses"].keywords == {"costs": costs, "weights": weights, "auxiliary": False}
    assert passed["postprocess"].keywords == {"score_thresh": 0.3, "detections_per_img": 100}
