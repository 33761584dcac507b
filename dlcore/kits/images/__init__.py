"""Labeled images: data by name, preprocessing and augmentation, predictions and panels of classifiers."""
