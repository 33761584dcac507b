"""Losses of one example: the caller maps over the batch and averages."""

from dlcore.losses.classification import softmax_cross_entropy_loss

__all__ = ["softmax_cross_entropy_loss"]
