"""Starters for Slurm."""
