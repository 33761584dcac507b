"""Modes: what an experiment can be asked to do (train, evaluate, predict, sanity, gradcheck, profile, export, plan)."""
