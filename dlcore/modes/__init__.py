"""Modes of an experiment: train, evaluate, predict, sanity, gradcheck, profile, export, plan."""
