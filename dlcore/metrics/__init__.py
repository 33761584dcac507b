"""Measures that add up over batches, parts and devices, and finish with `.compute()` on the host."""

from dlcore.metrics.calibration import Calibration
from dlcore.metrics.classification import ConfusionMatrix, PrecisionRecall, accuracy, mean_loss, top_k_accuracy

__all__ = ["Calibration", "ConfusionMatrix", "PrecisionRecall", "accuracy", "mean_loss", "top_k_accuracy"]
