"""Experiments whose runs are changed for a test."""

import dataclasses
from typing import Any

from dlcore.experiment import Experiment, Flags, Run

__all__ = ["inputs_of", "run_of", "samples_of", "with_run"]


def with_run(experiment: Experiment, **methods: Any) -> Experiment:
    """A copy whose runs have other methods: `load=function(run)`, `build=function(run)`, `hooks=function(run)`."""
    assert all(hasattr(Run, name) for name in methods)
    other = type("OtherRun", (Run,), methods)

    class Changed(type(experiment)):
        def run(self, *args: Any, **words: Any) -> Run:
            run = super().run(*args, **words)
            return other(run.page, run.flags, run.spec, run.steps, run.dtype)

    return Changed(**{field.name: getattr(experiment, field.name) for field in dataclasses.fields(experiment)})


def run_of(flags: Flags, spec: dict | None = None, steps: int = 1, dtype: Any = None, **parts: Any) -> Run:
    """A run of a few parts, such as `optimizer=`."""
    from dlcore.experiment.parts import Parts

    return Run(Parts(**{"technique": dict, "data": None, **parts}), flags, spec or {}, steps, dtype)


def inputs_of(experiment: Experiment, flags: Flags, spec: dict) -> tuple[Any, list[str]]:
    """What `--mode=predict` reads of `--input`."""
    run = experiment.run(flags, spec)
    return run.parts.use.inputs(flags.input, run)


def samples_of(experiment: Experiment, flags: Flags, spec: dict) -> tuple[Any, list[str]]:
    """What `--mode=predict` takes without `--input`."""
    run = experiment.run(flags, spec)
    return run.parts.use.samples(run)
