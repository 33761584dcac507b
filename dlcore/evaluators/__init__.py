"""Measures of a whole data set, computed on the host from what `predict` gives."""

from dlcore.lazy import lazy_exports

lazy_exports(
    globals(),
    {
        "CocoResult": "coco",
        "FeatureMemory": "feature_memory",
        "bleu": "text",
        "cider": "text",
        "coco_evaluator": "coco",
        "coco_map": "coco",
        "collect_features": "feature_memory",
        "edit_distance": "text",
        "frechet_distance": "frechet",
        "frechet_evaluator": "frechet",
        "frechet_of_features": "frechet",
        "inception_score": "frechet",
        "kid": "frechet",
        "knn": "knn",
        "knn_predict": "knn",
        "linear_probe": "linear_probe",
        "mode_coverage": "mode_coverage",
        "mode_coverage_evaluator": "mode_coverage",
        "moments": "frechet",
        "pasted_masks": "coco",
        "pck_evaluator": "keypoints",
        "probe_predict": "linear_probe",
        "rouge_l": "text",
        "sentence_bleu": "text",
        "text_evaluator": "text",
        "uniformity": "uniformity",
        "uniformity_of": "uniformity",
        "word_error_rate": "text",
    },
)
