"""The parts of an experiment as the modes ask for them, until every page consists of parts.

The modes pass flags; here they become values of the parts, once, and nothing behind this file reads a flag.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlcore.data.facts import Facts
from dlcore.data.splits import Spec, Splits
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Parts, Run
from dlcore.experiment.setting import Setting
from dlcore.experiment.setup import Setup
from dlcore.experiment.task import Task
from dlcore.learner import Learner

__all__ = ["TaskOfParts"]


class TaskOfParts(Task):
    """What the modes ask of a task, answered by parts.

    Args:
      parts: the parts, as the page has them.
      defaults: values of the flags of the run, such as its length.
    """

    parts: Parts

    def __init__(self, parts: Parts, defaults: dict[str, Any]):
        object.__setattr__(self, "parts", parts)  # what follows asks for it
        measure, sanity = parts.measures[0], parts.sanity
        facts = {
            "defaults": defaults,
            "monitor": getattr(measure, "monitor", measure.metric),
            "headline": getattr(measure, "headline", measure.metric),
            "monitor_mode": measure.mode,
            "loss_tolerance": sanity.tolerance,
            "plain": dict(sanity.plain),
            "regularizer": sanity.regularizer,
            "overfit": sanity.overfit,
            "input_kind": getattr(self.parts.use, "input_kind", "FILE_OR_FOLDER"),
            "packages": tuple(name for part in self.parts for name in getattr(part, "packages", ())),
            "modules": self.parts.modules(),
            "model": None if self.parts.zoo is None else self.parts.zoo.zoo_name,
            "external_fields": tuple(getattr(self.parts.network, "external_fields", ())),
            "own_fields": tuple(getattr(self.parts.network, "own_fields", ())),
        }
        # A method that no part has is None, as the modes ask for it.
        for name in ("inputs", "describe", "write"):
            facts[name] = getattr(self, f"_{name}") if hasattr(self.parts.use, name) else None
        facts["drawn"] = self._samples if hasattr(self.parts.use, "samples") else None
        facts["panels"] = self._panels if self.parts.report or any(self.parts.having("panels")) else None
        facts["pictures"] = self._pictures if any(self.parts.having("pictures")) else None
        facts["encoder"] = self._encoder if any(self.parts.having("encoder")) else None
        facts["expected_loss"] = None if sanity.expected_loss is None else self._expected_loss
        for name, value in facts.items():
            object.__setattr__(self, name, value)

    def run(self, setup: Setup) -> Run:
        """Build what parts may know of a run."""
        parts, seed = self.parts.resolved(setup.flags), setup.flags.seed
        return Run(Facts.of(setup.spec), setup.steps, setup.steps_per_epoch, setup.dtype, seed, parts, setup)

    def _run_of(self, flags: Flags, spec: Spec) -> Run:
        """Build what parts may know of a run whose length does not matter."""
        return self.run(Setup(flags, spec, flags.steps or 1, None, self.parts.optimizer))

    def settings(self) -> dict[str, Setting]:
        """Collect the flags of the parts."""
        return self.parts.settings()

    def reads_files(self, flags: Flags) -> bool:
        """Whether `--data_dir` matters."""
        return self.parts.resolved(flags).data.reads_files

    def data(self, flags: Flags) -> Splits:
        """Load the data."""
        run = self._run_of(flags, {})
        taken = inspect.signature(run.parts.data.load).parameters
        words = {"seed": flags.seed, "batch_size": flags.batch_size, "min_classes": 1 if flags.get("run") else 2}
        splits = run.parts.data.load(**{name: value for name, value in words.items() if name in taken})
        for finish in run.parts.having("finish_data"):
            splits = finish(splits, run)
        return splits

    def build(self, technique: Callable[..., Learner], optimizer: Any, setup: Setup, arguments: Any = None) -> Learner:
        """Build the learner."""
        run = self.run(setup)
        return run.parts.build(run)

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build what the technique takes besides its flags and the optimizer."""
        run = self.run(setup)
        return run.parts.arguments(run)

    def check(self, flags: Flags) -> None:
        """Check the parts against each other."""
        run = self._run_of(flags, {})
        for check in run.parts.having("check"):
            check(run)

    def planned(self, flags: Flags) -> tuple[Spec, Any] | None:
        """Tell the shapes of data that is known without loading it."""
        planned = getattr(self.parts.resolved(flags).data, "planned", None)
        return None if planned is None else planned()

    def start(self, setup: Setup) -> Any:
        """Build what puts weights into the first state."""
        run = self.run(setup)
        return next((start for part in run.parts.having("start") if (start := part(run)) is not None), None)

    def hooks(self, setup: Setup) -> list:
        """Build hooks of `fit`."""
        run = self.run(setup)
        return [hook for hooks in run.parts.having("hooks") for hook in hooks(run)]

    def report_hooks(self, setup: Setup, build: Callable[[Setup], Learner]) -> list:
        """Build hooks that only add panels to the report."""
        run = self.run(setup)
        return [hook for hooks in run.parts.having("report_hooks") for hook in hooks(run, build)]

    def schedule(self, setup: Setup) -> Callable[[int], float] | None:
        """Build the schedule of the learning rate, for the log."""
        run = self.run(setup)
        return None if run.parts.optimizer is None else run.parts.optimizer.rate_of_step(run.steps, run.steps_per_epoch)

    def notes(self, setup: Setup, splits: Splits) -> list[str]:
        """List facts that matter to this training, to print before it."""
        run = self.run(setup)
        return [line for messages in run.parts.having("messages") for line in messages(run, splits)]

    def explanations(self, flags: Flags, spec: Spec) -> list[str]:
        """Explain what limits the numbers of a run, in sentences of its report."""
        run = self._run_of(flags, spec)
        return [line for explanations in run.parts.having("explanations") for line in explanations(run)]

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list:
        """Build evaluators, which measure the outputs of `predict`."""
        run = self.run(setup)
        return [one for evaluators in run.parts.having("evaluators") for one in evaluators(run, splits, split)]

    def _expected_loss(self, setup: Setup) -> float:
        expected = self.parts.sanity.expected_loss
        assert expected is not None
        return expected(self.run(setup))

    def _inputs(self, flags: Flags, spec: Spec) -> tuple[Any, list[str]]:
        run = self._run_of(flags, spec)
        return run.parts.use.inputs(flags.input, run)

    def _samples(self, flags: Flags, spec: Spec) -> tuple[Any, list[str]]:
        run = self._run_of(flags, spec)
        return run.parts.use.samples(run)

    def _describe(self, outputs: Any, spec: Spec) -> list[dict]:
        return self.parts.use.describe(outputs, Facts.of(spec))

    def _write(self, folder: Path, outputs: Any, source: Any, names: list[str], spec: Spec) -> list[Path]:
        return self.parts.use.write(folder, outputs, source, names, Facts.of(spec))

    def _panels(self, context: Any) -> list:
        run = self._run_of(context.flags, context.spec)
        panels = [part.panels(context, run) for part in run.parts if hasattr(part, "panels")]
        panels += [part(context) for part in run.parts.report if callable(part)]
        return [panel for several in panels for panel in several]

    def _pictures(self, context: Any) -> dict[str, Any]:
        pictures: dict[str, Any] = {}
        for draw in self.parts.having("pictures"):
            pictures |= draw(context)
        return pictures

    def _encoder(self, setup: Setup) -> Any:
        run = self.run(setup)
        return next(run.parts.having("encoder"))(run)
