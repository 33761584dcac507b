"""Hooks: functions `(step, state, metrics) -> State | STOP | None` that fit calls at log and evaluation steps.

`metrics` maps "train/loss", "valid/accuracy", ... to numbers. A hook that returns a State replaces the run's; one that
returns STOP ends the run after a last checkpoint. A hook with an attribute `memory`, a JSON-able dict, gets it back
after a resume; one with a method `panels(ReportContext)` adds those panels to the report.

The state is lent: the next step donates its arrays, and a deleted array raises "Array has been deleted". A hook that
keeps values takes a copy, `jax.device_get(state.params)`.
"""

import math
from collections.abc import Callable
from typing import Any, Final

import jax.numpy as jnp

from dlcore.choices import check_choice, check_whole_number
from dlcore.ops.checks import check_finite, check_shapes
from dlcore.optim.plateau import Plateau, PlateauState, set_plateau_scale
from dlcore.run.progress import say

__all__ = ["STOP", "EarlyStopping", "Hook", "ReduceOnPlateau"]

Hook = Callable[[int, Any, dict[str, float]], Any]


class _Stop:
    def __repr__(self) -> str:
        return "STOP"


STOP: Final = _Stop()


class EarlyStopping:
    """Stop when a metric has not improved in `patience` evaluations (Prechelt 1998).

    Args:
      monitor: name of the metric, such as "valid/accuracy".
      patience: evaluations without improvement after which training stops, at least 1.
      mode: "max" if larger is better, "min" if smaller is.
      min_delta: least change that counts as an improvement.

    Raises:
      ValueError: `patience` is no whole number from 1, `mode` is unknown, or `min_delta` is negative or not finite.
    """

    def __init__(self, monitor: str = "valid/accuracy", patience: int = 5, mode: str = "max", min_delta: float = 0.0):
        check_whole_number("patience", patience, 1)
        check_shapes(min_delta=(min_delta, ">= 0"))
        check_finite("min_delta", min_delta)
        check_choice("mode", mode, ("max", "min"))
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.sign = 1 if mode == "max" else -1
        self.memory: dict[str, Any] = {"best": None, "waited": 0}

    def __call__(self, step: int, state: Any, metrics: dict[str, float]) -> Any:
        """Compare the metric with its best value so far.

        Args:
          step: number of steps done.
          state: the learner's state.
          metrics: "split/name" -> number, of this step.

        Returns:
          STOP after `patience` evaluations without improvement, else None.
        """
        value = metrics.get(self.monitor)
        if value is None:
            return None
        best = self.memory["best"]
        if best is None or self.sign * (value - best) > self.min_delta or math.isnan(best):
            self.memory = {"best": value, "waited": 0}
            return None
        self.memory = {"best": best, "waited": self.memory["waited"] + 1}
        if self.memory["waited"] < self.patience:
            return None
        say(
            f"stop at step {step}: {self.patience} evaluations in a row without a better {self.monitor} than {best:.4g}"
        )
        return STOP


class ReduceOnPlateau:
    """Lower the learning rate if a metric has not improved in more than `patience` evaluations.

    The rule is that of `dlcore.optim.Plateau`, with its default threshold; the optimizer has a `scale_by_plateau`.

    Args:
      monitor: name of the metric, such as "valid/accuracy".
      patience: number of consecutive evaluations without progress to tolerate, at least 0.
      mode: "max" if larger is better, "min" if smaller is.
      factor: factor of the learning rate, in (0, 1).

    Raises:
      ValueError: `patience` is no whole number from 0, `mode` is unknown, or `factor` is not in (0, 1).
    """

    def __init__(self, monitor: str = "valid/loss", patience: int = 3, mode: str = "min", factor: float = 0.1):
        check_choice("mode", mode, ("max", "min"))
        check_whole_number("patience", patience)
        check_shapes(factor=(factor, "finite"))
        if patience < 0 or not 0 < factor < 1:
            raise ValueError(f"patience={patience}, factor={factor}: out of range; allowed: at least 0, in (0, 1)")
        self.monitor = monitor
        self.plateau = Plateau(1.0, factor, patience, maximize=mode == "max")
        self.memory: dict[str, Any] = {"state": None}

    def __call__(self, step: int, state: Any, metrics: dict[str, float]) -> Any:
        """Compare the metric with its best value so far.

        Args:
          step: number of steps done.
          state: the learner's state.
          metrics: "split/name" -> number, of this step.

        Returns:
          The state with the lower learning rate after a plateau, else None.
        """
        value = metrics.get(self.monitor)
        if value is None:
            return None
        saved = self.memory["state"]
        before = self.plateau.init() if saved is None else PlateauState(*map(jnp.asarray, saved))
        after = self.plateau.update(before, value)
        self.memory = {"state": [leaf.item() for leaf in after]}
        if after.rate == before.rate:
            return None
        scale = float(after.rate)
        best = float(after.best)
        say(f"no better {self.monitor} than {best:.4g}: from step {step} on {scale:.3g} of the learning rate")
        return state.replace(opt_state=set_plateau_scale(state.opt_state, scale))
