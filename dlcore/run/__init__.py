"""The engine that drives a learner: fit, evaluate, placement, checkpoints, hooks; without experiments and flags."""

from dlcore.run.evaluate import evaluate, predict
from dlcore.run.fit import Result, Saving, fit
from dlcore.run.hooks import STOP, EarlyStopping
from dlcore.run.sharding import make_mesh
from dlcore.run.step import Placement

__all__ = ["STOP", "EarlyStopping", "Placement", "Result", "Saving", "evaluate", "fit", "make_mesh", "predict"]
