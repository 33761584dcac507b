"""NaN scores nothing: every measure of predictions that are NaN is an error, NaN itself, or the worst value."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import metrics
from dlcore.data.source import Source
from dlcore.evaluators import (
    class_consistency,
    coco_map,
    frechet_of_features,
    inception_score,
    kid,
    knn_predict,
    mode_coverage,
    neighborhoods,
    probe_predict,
    spectral_pitch,
    uniformity_of,
)
from dlcore.evaluators.episodes import episode_accuracy
from dlcore.evaluators.videos import accuracy_by_video
from dlcore.evaluators.zero_shot import zero_shot
from dlcore.metrics.detection import average_precision, cardinality_error, match_detections
from dlcore.metrics.language import token_metrics

NAN, ZEROS = np.full((4, 3), np.nan, np.float32), np.zeros(4, np.int32)
SIDES = np.full((8, 8), np.nan)
BANK, LABELS = np.eye(4, 3, dtype=np.float32), np.array([0, 1, 0, 1])


def finished(evaluator, outputs, rows, state=None):
    start = None if evaluator.start is None else evaluator.start(state)
    return evaluator.finish(evaluator.add(start, outputs, rows))


def episodes():
    source = Source({"support": np.zeros((1, 2, 1, 3)), "query": np.zeros((1, 2, 2, 3))})
    return finished(episode_accuracy(source), {"logits": np.full((1, 4, 2), np.nan)}, source[:1])["accuracy_2way1shot"]


def detections(boxes, scores):
    target = np.array([[0, 0.0, 0, 4, 4, 0, 0]])
    return coco_map(target, np.concatenate([[[0, 0]], boxes, scores], 1), 1, 1)


MEASURES = {
    "accuracy": lambda: metrics.accuracy(jnp.asarray(NAN), jnp.asarray(ZEROS)).compute(),
    "top_k_accuracy": lambda: metrics.top_k_accuracy(jnp.array([[1.0, np.nan]]), jnp.array([0]), 2).compute(),
    "ConfusionMatrix": lambda: metrics.ConfusionMatrix.of(jnp.asarray(NAN), jnp.asarray(ZEROS)).compute(),
    "PrecisionRecall": lambda: metrics.PrecisionRecall.of(jnp.asarray(NAN), jnp.asarray(ZEROS)).compute(),
    "Calibration": lambda: metrics.Calibration.of(jnp.asarray(NAN), jnp.asarray(ZEROS)).compute()["ece"],
    "Calibration accuracy": lambda: metrics.Calibration.of(jnp.asarray(NAN), jnp.asarray(ZEROS)).correct.sum(),
    "MeanIoU": lambda: metrics.MeanIoU.of(jnp.full((1, 2, 2, 3), jnp.nan), jnp.zeros((1, 2, 2), int)).compute(),
    "BoundaryIoU": lambda: metrics.BoundaryIoU.of(
        jnp.full((1, 8, 8, 3), jnp.nan), jnp.zeros((1, 8, 8), int), num_classes=3
    ).compute(),
    "voxel_iou": lambda: metrics.voxel_iou(jnp.full((2, 2, 2), jnp.nan), jnp.zeros((2, 2, 2))),
    "token_metrics": lambda: token_metrics(NAN[:, 0], jnp.asarray(NAN), ZEROS)["accuracy"].compute(),
    "mean_loss": lambda: metrics.mean_loss(jnp.asarray(NAN[:, 0])).compute(),
    "RootMeanSquare": lambda: metrics.RootMeanSquare.of(jnp.asarray(NAN[:, 0])).compute(),
    "silhouette": lambda: metrics.silhouette(NAN, LABELS),
    "recall_at_k": lambda: metrics.recall_at_k(NAN, LABELS, 1),
    "verification": lambda: metrics.verification(NAN[:, 0], LABELS > 0),
    "ndcg": lambda: metrics.ndcg(np.ones((4, 3)), NAN),
    "multilabel_average_precision": lambda: metrics.multilabel_average_precision(np.ones((4, 3)), NAN),
    "depth_errors": lambda: metrics.depth_errors(jnp.asarray(SIDES)[None], jnp.ones((1, 8, 8))),
    "point_f1": lambda: metrics.point_f1(jnp.asarray(NAN), jnp.zeros((4, 3)), 1.0),
    "chamfer_distance": lambda: metrics.chamfer_distance(jnp.asarray(NAN), jnp.zeros((4, 3))),
    "psnr": lambda: metrics.psnr(jnp.asarray(SIDES), jnp.ones((8, 8)), 1.0),
    "ssim": lambda: metrics.ssim(jnp.asarray(SIDES), jnp.ones((8, 8)), 1.0),
    "nrmse": lambda: metrics.nrmse(jnp.ones((8, 8)), jnp.asarray(SIDES)),
    "KeypointAccuracy": lambda: metrics.KeypointAccuracy.of(
        jnp.full((1, 2, 2), jnp.nan), jnp.ones((1, 2, 3)), jnp.array([[0.0, 0, 4, 4]]), jnp.ones(1, bool)
    ).compute()["pck"],
    "match_detections": lambda: match_detections(np.full((1, 4), np.nan), np.ones(1), np.array([[0.0, 0, 1, 1]])).sum(),
    "average_precision": lambda: average_precision(np.array([True]), np.array([np.nan]), 1),
    "cardinality_error": lambda: -cardinality_error(jnp.full((2, 3), jnp.nan), jnp.ones(2, bool)) + 2,
    "coco_map": lambda: detections(np.full((1, 4), np.nan), np.ones((1, 1))).map,
    "knn_predict": lambda: knn_predict(BANK, LABELS, NAN, 1),
    "probe_predict": lambda: probe_predict(BANK, LABELS, NAN),
    "probe_predict, bank": lambda: probe_predict(NAN, LABELS, BANK),
    "uniformity_of": lambda: uniformity_of(NAN),
    "lpips": lambda: metrics.lpips({"x": jnp.asarray(NAN)[None, None]}, {"x": jnp.ones((1, 1, 4, 3))}),
    "clip_score": lambda: metrics.clip_score(jnp.asarray(NAN), jnp.asarray(BANK)),
    "neighborhoods": lambda: neighborhoods(BANK, NAN, 1).precision,
    "kid": lambda: kid(NAN, BANK),
    "frechet_of_features": lambda: frechet_of_features(NAN, BANK),
    "inception_score": lambda: inception_score(NAN),
    "mode_coverage": lambda: mode_coverage(NAN, BANK, 1.0),
    "spectral_pitch": lambda: spectral_pitch(np.full((1, 100), np.nan), 100),
    "class_consistency": lambda: finished(class_consistency(lambda x: x, None), {"sample": NAN}, {"label": ZEROS})[
        "class_consistency"
    ],
    "zero_shot": lambda: finished(zero_shot(None, lambda state: BANK), {"clip": NAN}, {"label": ZEROS})["zero_shot"],
    "episode_accuracy": episodes,
    "accuracy_by_video": lambda: finished(
        accuracy_by_video(), {"logits": NAN}, {"label": ZEROS, "video": np.arange(4)}
    )["accuracy_by_video"],
}


@pytest.mark.parametrize("name", MEASURES)
def test_predictions_that_are_nan_score_nothing(name):
    try:
        value = MEASURES[name]()
    except ValueError as error:
        assert re.search("finite|allowed", str(error))  # noqa: PT017
    else:
        assert np.isnan(value).all() or (np.asarray(value) == 0).all(), value


def test_a_class_that_is_nan_is_none():
    scores = np.array([[0.1, 0.9], [np.nan, 0.9], [0.5, 0.5]], np.float32)
    np.testing.assert_array_equal(metrics.class_predictions(scores), [1, -1, 0])
    np.testing.assert_array_equal(metrics.class_predictions(jnp.asarray(scores)), [1, -1, 0])
