"""Experiments on video."""
