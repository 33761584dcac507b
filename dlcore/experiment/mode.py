"""Modes: ways to run an experiment, such as train, evaluate and predict."""

from collections.abc import Callable
from typing import NamedTuple

from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.setting import Setting

__all__ = ["Mode"]


class Mode(NamedTuple):
    """A mode; it works with every experiment, since it uses only the learner's contract.

    Args:
      run: ResolvedRun -> exit status (None counts as 0).
      settings: flags that only this mode has.
      packages: names of required packages in `dlcore.extras`.
    """

    run: Callable[[ResolvedRun], int | None]
    settings: dict[str, Setting] = {}
    packages: tuple[str, ...] = ()
