"""Measures that add up over batches, parts and devices, and finish with `.compute()` on the host."""

from dlcore.metrics.agreement import balanced_accuracy, cohen_kappa, matthews_correlation
from dlcore.metrics.calibration import Calibration
from dlcore.metrics.classification import (
    ConfusionMatrix,
    PrecisionRecall,
    accuracy,
    class_predictions,
    mean_loss,
    top_k_accuracy,
)
from dlcore.metrics.clustering import adjusted_rand_index, normalized_mutual_information, silhouette
from dlcore.metrics.depth import depth_errors, depth_metrics
from dlcore.metrics.feature_similarity import clip_score, lpips, lpips_weights
from dlcore.metrics.image_quality import nrmse, psnr, ssim, ssim_map
from dlcore.metrics.keypoints import KeypointAccuracy
from dlcore.metrics.panoptic import PanopticQuality
from dlcore.metrics.point_sets import chamfer_distance, point_f1
from dlcore.metrics.prototype_usage import PrototypeUsage
from dlcore.metrics.ranking import multilabel_average_precision, ndcg
from dlcore.metrics.regression import RootMeanSquare
from dlcore.metrics.retrieval import recall_at_k, verification
from dlcore.metrics.segmentation import BoundaryIoU, MeanIoU, iou_per_class, voxel_iou
from dlcore.metrics.spectrum import alpha_req, lidar, rank_me
from dlcore.metrics.surface_distance import mean_surface_distance, surface_dice
from dlcore.metrics.total_loss import TotalLoss
from dlcore.metrics.tracking import clear_mot, hota, idf1

__all__ = [
    "BoundaryIoU",
    "Calibration",
    "ConfusionMatrix",
    "KeypointAccuracy",
    "MeanIoU",
    "PanopticQuality",
    "PrecisionRecall",
    "PrototypeUsage",
    "RootMeanSquare",
    "TotalLoss",
    "accuracy",
    "adjusted_rand_index",
    "alpha_req",
    "balanced_accuracy",
    "chamfer_distance",
    "class_predictions",
    "clear_mot",
    "clip_score",
    "cohen_kappa",
    "depth_errors",
    "depth_metrics",
    "hota",
    "idf1",
    "iou_per_class",
    "lidar",
    "lpips",
    "lpips_weights",
    "matthews_correlation",
    "mean_loss",
    "mean_surface_distance",
    "multilabel_average_precision",
    "ndcg",
    "normalized_mutual_information",
    "nrmse",
    "point_f1",
    "psnr",
    "rank_me",
    "recall_at_k",
    "silhouette",
    "ssim",
    "ssim_map",
    "surface_dice",
    "top_k_accuracy",
    "verification",
    "voxel_iou",
]
