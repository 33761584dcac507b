"""Simple methods on clips."""

from experiments.simple.method import SimpleMethod

__all__ = ["METHODS"]

METHODS: list[SimpleMethod] = []
