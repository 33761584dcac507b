"""Object detection: boxes, classes and scores from images."""

from dlcore.lazy import lazy_exports

lazy_exports(
    globals(),
    {
        "FCOS": "fcos",
        "Anchors": "anchors",
        "Candidates": "dense",
        "DetectorState": "dense",
        "FeaturePyramid": "fpn",
        "Grid": "anchors",
        "SingleStage": "single_stage",
        "assign_levels": "fpn",
        "centerness": "fcos",
        "detector_learner": "dense",
        "flatten_levels": "dense",
        "head_conv": "dense",
        "match_anchors": "anchors",
        "named_maps": "dense",
        "select": "dense",
        "topk_by_class": "dense",
        "topk_by_level": "dense",
        "tower": "dense",
    },
)
