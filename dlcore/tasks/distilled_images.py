"""DistilledImages: generate images by a U-Net that learns from a network that an earlier run trained."""

import dataclasses
from typing import Any, ClassVar, Literal

import jax

from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting
from dlcore.kits.training import earlier_run
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.tasks.denoised_images import DenoisedImages
from dlcore.weights.fit import fit_weights
from dlcore.weights.open import Weights
from dlcore.weights.start import Start

__all__ = ["OPTIMIZER", "DistilledImages"]

OPTIMIZER = AveragedAdamW(learning_rate=1e-3, weight_decay=0.0, clip_norm=1.0, ema=0.999)
"""The optimizer of the pages that distill."""


@dataclasses.dataclass(frozen=True)
class DistilledImages(DenoisedImages):
    """Generated images, and a teacher that an earlier run trained; `--init_from` names the run.

    A page sets `teacher_page`, the name of the page that trains the teacher, `teacher_use`, which ends the help of the
    flag, and `teacher_facts`, settings that the run of the teacher must share. The optimizer is `OPTIMIZER`.
    """

    teacher_page: ClassVar[str]
    teacher_use: ClassVar[str]
    teacher_facts: ClassVar[tuple[str, ...]] = ()
    teacher_identity: ClassVar[bool | Literal["if changed"]] = "if changed"

    def origin(self, flags: Flags) -> Weights | None:
        """Read where the teacher comes from."""
        teacher_run = earlier_run.origin(flags, "init_from", self.teacher_page, "unet")
        if teacher_run is not None:
            earlier_run.check_settings(teacher_run, {name: flags[name] for name in self.teacher_facts})
        return teacher_run

    def settings(self) -> dict[str, Setting]:
        """Add `--init_from`."""
        init_from = Setting(
            None,
            f"the folder of a run of {self.teacher_page}, {self.teacher_use}",
            str | None,
            essential=True,
            identity=self.teacher_identity,
            origin=self.origin,
        )
        return {**super().settings(), "init_from": init_from}

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the network, and the teacher that it learns from."""
        arguments = super().arguments(setup)
        teacher = None if setup.flags.init_from is None else arguments["model"].copy()
        return {**arguments, "teacher": teacher}

    def start(self, setup: Setup) -> Start | None:
        """Start teacher and student with the weights of `--init_from`."""
        if setup.flags.init_from is None:
            return None

        def check(state: Any) -> None:
            teacher_run = self.origin(setup.flags)
            earlier_run.check_facts(teacher_run.name, teacher_run.spec, setup.spec, "image_shape")

        def replace(state: Any) -> Any:
            teacher_run = self.origin(setup.flags)
            params = teacher_run.variables()["params"]
            # A run that had a teacher itself is followed by its student.
            weights, _ = fit_weights(params.get("student", params), state.locked["teacher"], teacher_run.name)
            weights = jax.tree.map(jax.numpy.asarray, weights)
            params = {"student": weights}
            opt_state = jax.jit(setup.transformation().init)(params)
            return state.replace(params=params, locked={"teacher": weights}, opt_state=opt_state)

        return Start(replace, check)
