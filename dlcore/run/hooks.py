"""Hooks: functions `(step, state, metrics) -> State | STOP | None` that fit calls at log and evaluation steps.

`metrics` maps "train/loss", "valid/accuracy", ... to numbers. A hook that returns a State replaces the run's; one that
returns STOP ends the phase after a last checkpoint. A hook with an attribute `memory`, a JSON-able dict, finds it again
after a resume; one with a method `panels(ReportContext)` adds those panels to the report.
"""

import math
from collections.abc import Callable
from typing import Any, Final

__all__ = ["STOP", "EarlyStopping", "Hook"]

Hook = Callable[[int, Any, dict[str, float]], Any]


class _Stop:
    def __repr__(self) -> str:
        return "STOP"


STOP: Final = _Stop()


class EarlyStopping:
    """Stop when a measure has not improved for `patience` of its measurements (Prechelt 1998).

    Args:
      monitor: the measure, such as "valid/accuracy".
      patience: how many measurements without improvement are allowed, at least 1.
      mode: "max" or "min".
      min_delta: the least change that counts.
    """

    def __init__(self, monitor: str = "valid/accuracy", patience: int = 5, mode: str = "max", min_delta: float = 0.0):
        if patience < 1:
            raise ValueError(f"patience={patience} must be at least 1")
        if mode not in ("max", "min"):
            raise ValueError(f"mode={mode!r} is unknown; allowed are max, min")
        self.monitor, self.patience, self.sign, self.min_delta = (
            monitor,
            patience,
            1 if mode == "max" else -1,
            min_delta,
        )
        self.memory: dict[str, Any] = {"best": None, "waited": 0}

    def __call__(self, step: int, state: Any, metrics: dict[str, float]) -> Any:
        """STOP once patience is at an end."""
        value = metrics.get(self.monitor)
        if value is None:
            return None
        best = self.memory["best"]
        if best is None or self.sign * (value - best) > self.min_delta or math.isnan(best):
            self.memory = {"best": value, "waited": 0}
            return None
        self.memory = {"best": best, "waited": self.memory["waited"] + 1}
        return STOP if self.memory["waited"] >= self.patience else None
