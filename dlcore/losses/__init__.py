"""Losses of one example: the caller maps over the batch and averages."""

from dlcore.losses.classification import softmax_cross_entropy_loss
from dlcore.losses.style import content_loss, gram_matrix, style_loss, total_variation_loss

__all__ = ["content_loss", "gram_matrix", "softmax_cross_entropy_loss", "style_loss", "total_variation_loss"]
