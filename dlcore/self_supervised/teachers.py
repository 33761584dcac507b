"""Teachers that are slow averages of their students: the schedule of the momentum, and of DINO's temperature."""

import dataclasses
from typing import Annotated, Any

import jax.numpy as jnp
import optax

from dlcore.learner import Range
from dlcore.optim.ema import cosine_momentum

__all__ = ["DINOTeacher", "TargetMomentum", "Teacher"]


@dataclasses.dataclass(frozen=True)
class DINOTeacher:
    """The schedules of an EMA teacher: its momentum rises to 1 by half a cosine, and its temperature linearly.

    Args:
      teacher_momentum: initial momentum of the EMA teacher; it rises to 1
      teacher_temperature: temperature of the teacher, at first and after the warm-up
      temperature_warmup: share of the steps in which the teacher's temperature rises
    """

    teacher_momentum: Annotated[float, Range(0, 1)] = 0.996
    teacher_temperature: Annotated[tuple[float, float], Range(1e-3)] = (0.04, 0.07)
    temperature_warmup: Annotated[float, Range(0, 1)] = 0.3

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique its `teacher_momentum` and its `teacher_temperature`."""
        first, last = self.teacher_temperature
        warmup = max(1, round(self.temperature_warmup * run.steps))
        return {
            "teacher_momentum": cosine_momentum(self.teacher_momentum, run.steps),
            "teacher_temperature": lambda step: first + (last - first) * jnp.minimum(step / warmup, 1.0),
        }

    def backbone(self, state: Any) -> dict:
        """Find the variables of the teacher's backbone.

        Args:
          state: the learner's state.

        Returns:
          {collection: variables}.
        """
        trees = {"params": state.teacher_params, **state.teacher_model_state}
        return {name: leaves["backbone"] for name, leaves in trees.items() if "backbone" in leaves}


@dataclasses.dataclass(frozen=True)
class Teacher:
    """The schedule of an EMA teacher's momentum.

    Args:
      teacher_momentum: initial momentum of the EMA teacher; it rises linearly to 1
    """

    teacher_momentum: Annotated[float, Range(0, 1)] = 0.996

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique its `teacher_momentum`."""
        return {"teacher_momentum": optax.linear_schedule(self.teacher_momentum, 1.0, max(1, run.steps))}


@dataclasses.dataclass(frozen=True)
class TargetMomentum:
    """The schedule of an EMA target's momentum, which rises to 1 by half a cosine.

    Args:
      target_momentum: initial momentum of the EMA target; it rises to 1
    """

    target_momentum: Annotated[float, Range(0, 1)] = 0.996

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique its `momentum`."""
        return {"momentum": cosine_momentum(self.target_momentum, run.steps)}
