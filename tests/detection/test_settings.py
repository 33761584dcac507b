"""The settings of a detector's learner reach the parts that use them."""

from functools import partial

import pytest

from dlcore.detection import center_net, detr, fcos, retinanet, single_stage, ssd, yolo, yolo_anchor_free
from dlcore.detection.anchor_detector import Matching
from dlcore.detection.dense import Thresholds
from dlcore.detection.yolo_anchor_free import YOLOWeights

FOCAL, FOUND = {"alpha": 0.6, "gamma": 3.0}, {"score_thresh": 0.3, "detections_per_img": 7}
THRESHOLDS = Thresholds(0.1, 0.2, 3, 4)
MATCHING, OVERLAPS = Matching(0.7, 0.3), {"fg_iou_thresh": 0.7, "bg_iou_thresh": 0.3}
COSTS, WEIGHTS = detr.MatchingCosts(2.0, 3.0, 4.0), detr.LossWeights(0.5, 6.0, 7.0)


def parts(module, monkeypatch, **settings):
    """What `module.learner` passes on to `detector_learner`; nobody calls the preprocessing."""
    monkeypatch.setattr(module, "detector_learner", dict)
    shared = {"model": None, "optimizer": None, "preprocess": abs, "augment": min}
    passed = module.learner(**shared, **settings)
    assert {name: passed[name] for name in shared} == shared
    return passed


@pytest.mark.parametrize(
    ("module", "losses", "reach"),
    [
        (center_net, {"alpha": 3.0, "beta": 5.0, "size_weight": 0.2, "offset_weight": 4.0} | FOUND, None),
        (detr, {"costs": COSTS, "weights": WEIGHTS, "auxiliary": False} | FOUND, None),
        (fcos, FOCAL | {"center_sampling_radius": 2.0, "regress_range": 4.0, "thresholds": THRESHOLDS}, None),
        (retinanet, FOCAL | {"matching": MATCHING, "thresholds": THRESHOLDS}, FOCAL | OVERLAPS),
        (
            single_stage,
            {"matching": MATCHING, "neg_to_pos_ratio": 2.0, "thresholds": THRESHOLDS},
            OVERLAPS | {"neg_to_pos_ratio": 2.0},
        ),
        (ssd, {"iou_thresh": 0.6, "neg_to_pos_ratio": 2.0, "min_positives": 0, "thresholds": THRESHOLDS}, None),
        (yolo, {"lambda_coord": 6.0, "lambda_noobj": 0.25, "thresholds": THRESHOLDS}, None),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_settings_reach_the_losses_and_the_step_from_scores_to_detections(module, losses, reach, monkeypatch):
    """`reach` are the settings of the losses by the names that these have."""
    passed = parts(module, monkeypatch, **losses)
    found = THRESHOLDS._asdict() if "thresholds" in losses else FOUND
    reach = reach or {name: value for name, value in losses.items() if name not in (*FOUND, "thresholds")}
    for name, function, settings in (("losses", "image_losses", reach), ("postprocess", "postprocess", found)):
        assert passed[name].func is getattr(module, function)
        assert passed[name].keywords == settings


@pytest.mark.parametrize(
    ("assignment", "settings"),
    [("task_aligned", {"alpha": 0.25, "beta": 4.0}), ("sim_ota", {"center_radius": 1.5, "iou_cost": 2.0})],
)
def test_the_settings_of_an_assignment_reach_it(assignment, settings, monkeypatch):
    weights = YOLOWeights(2.0, 3.0, 4.0)
    given = {f"alignment_{name}" if assignment == "task_aligned" else name: value for name, value in settings.items()}
    passed = parts(
        yolo_anchor_free, monkeypatch, assignment=assignment, assignment_topk=5, weights=weights,
        thresholds=THRESHOLDS, **given,
    )  # fmt: skip
    keywords = passed["losses"].keywords
    assert isinstance(keywords["assign"], partial)
    assert keywords["assign"].func.__name__ == f"{assignment}_assignment"
    assert keywords["assign"].keywords == settings | {"topk": 5}
    assert keywords["weights"] == weights
    assert passed["postprocess"].keywords == THRESHOLDS._asdict()
