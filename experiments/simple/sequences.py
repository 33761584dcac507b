"""Simple methods on sequences."""

from experiments.simple.method import SimpleMethod

__all__ = ["METHODS"]

METHODS: list[SimpleMethod] = []
