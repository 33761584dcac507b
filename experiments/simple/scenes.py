"""Simple methods on scenes."""

from experiments.simple.method import SimpleMethod

__all__ = ["METHODS"]

METHODS: list[SimpleMethod] = []
