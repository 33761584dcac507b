"""Tuning for CPUs: what `lax.platform_dependent` takes in a program that is lowered for a CPU, and nowhere else."""

__all__: list[str] = []
