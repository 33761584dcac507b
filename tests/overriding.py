"""Experiments whose task is changed for a test."""

import copy
import dataclasses
from typing import Any

from dlcore.experiment import Experiment


def with_task(experiment: Experiment, **changes: Any) -> Experiment:
    """A copy whose task has other methods, functions without `self`, or attributes, such as monitor=None.

    `build` is a function of the setup alone.
    """
    kind = type(experiment.task)
    assert all(hasattr(kind, name) for name in changes)
    if "build" in changes:
        build = changes["build"]
        changes["build"] = lambda technique, optimizer, setup, arguments: build(setup)
    members = {name: staticmethod(value) if callable(value) else value for name, value in changes.items()}
    task = copy.copy(experiment.task)
    object.__setattr__(task, "__class__", type(kind.__name__, (kind,), members))
    for name in changes:
        vars(task).pop(name, None)  # of the instance, of a page that says its parts
    changed = dataclasses.replace(experiment)
    object.__setattr__(changed, "task", task)
    return changed
