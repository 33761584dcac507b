"""Experiments whose task is changed for a test."""

import copy
import dataclasses
from typing import Any

from dlcore.experiment import Experiment


def with_task(experiment: Experiment, **changes: Any) -> Experiment:
    """A copy whose task has other methods or attributes, such as data=lambda flags: ... or monitor=None."""
    task = copy.copy(experiment.task)
    if "build" in changes:  # a function of the setup alone
        build = changes.pop("build")
        object.__setattr__(task, "build", lambda technique, optimizer, setup, arguments: build(setup))
    for name, value in changes.items():
        assert hasattr(task, name)
        object.__setattr__(task, name, value)
    return dataclasses.replace(experiment, task=task)
