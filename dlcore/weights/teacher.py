"""Teacher: the network of an earlier run, which a generator of images learns from."""

import dataclasses
from typing import Annotated, Any

import jax

from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.setting import Setting
from dlcore.weights import earlier_run
from dlcore.weights.fit import fit_weights
from dlcore.weights.open import Weights
from dlcore.weights.start import Start

__all__ = ["Teacher"]


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A teacher that an earlier run trained, as the flag `--init_from`; without it there is none.

    Args:
      page: name of the page that trains the teacher.
      purpose: what the run is for, the end of the help of the flag.
      same: settings that the run of the teacher must share.
      always_identity: whether the flag is in the identity of a run also where it names no run.
    """

    page: Annotated[str, "no flag"]
    purpose: Annotated[str, "no flag"]
    same: Annotated[tuple[str, ...], "no flag"] = ()
    always_identity: Annotated[bool, "no flag"] = False

    def origin(self, flags: Flags) -> Weights | None:
        """Read where the teacher comes from.

        Args:
          flags: resolved settings; must contain `init_from`.

        Returns:
          The run; None without the flag.
        """
        teacher_run = earlier_run.origin(flags, "init_from", self.page, "unet")
        if teacher_run is not None:
            earlier_run.check_settings(teacher_run, {name: flags[name] for name in self.same})
        return teacher_run

    @property
    def settings(self) -> dict[str, Setting]:
        """The flag `--init_from`."""
        init_from = Setting(
            None,
            f"the folder of a run of {self.page}, {self.purpose}",
            str | None,
            essential=True,
            identity=self.always_identity or "if changed",
            origin=self.origin,
        )
        return {"init_from": init_from}

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the teacher's network, and the steps of the training."""
        teacher = None if run.flags.init_from is None else run.parts.network.clone(dtype=run.dtype)
        return {"teacher": teacher, "num_steps": run.steps}

    def start(self, run: Run) -> Start | None:
        """Start teacher and student with the weights of `--init_from`."""
        if run.flags.init_from is None:
            return None

        def check(state: Any) -> None:
            teacher_run = self.origin(run.flags)
            earlier_run.check_facts(teacher_run.name, teacher_run.spec, run.spec, "image_shape")

        def replace(state: Any) -> Any:
            teacher_run = self.origin(run.flags)
            params = teacher_run.variables()["params"]
            # A run that had a teacher itself is followed by its student.
            weights, _ = fit_weights(params.get("student", params), state.locked["teacher"], teacher_run.name)
            weights = jax.tree.map(jax.numpy.asarray, weights)
            params = {"student": weights}
            opt_state = jax.jit(run.optimizer().init)(params)
            return state.replace(params=params, locked={"teacher": weights}, opt_state=opt_state)

        return Start(replace, check)
