"""Simple methods on generation."""

from experiments.simple.method import SimpleMethod

__all__ = ["METHODS"]

METHODS: list[SimpleMethod] = []
