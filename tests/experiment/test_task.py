"""What an experiment takes from its task."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

from dlcore.experiment.experiment import Experiment
from dlcore.experiment.task import Task
from dlcore.learner import Range


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sums(Task):
    """Numbers to add.

    Args:
      count: numbers of a sum
      network: (count) -> module
    """

    count: Annotated[int, Range(1)] = 2
    network: Callable[[int], Any] = str

    plain: ClassVar[dict[str, Any]] = {"dropout": 0.0}
    modules: ClassVar[dict[str, Callable]] = {"network": dict}
    monitor: ClassVar[str] = "error"


def test_a_task_gives_what_the_page_does_not_set():
    """Fields whose default is an empty dictionary, too."""
    experiment = Experiment(__file__, "", dict, task=Sums(count=3))
    assert (experiment.plain, experiment.modules) == ({"dropout": 0.0}, {"network": dict})
    assert experiment.monitor == "error"
    assert experiment.settings["count"].default == 3


def test_what_the_page_sets_replaces_what_the_task_gives():
    experiment = Experiment(__file__, "", dict, task=Sums(), plain={"l2": 0.0}, monitor="loss")
    assert (experiment.plain, experiment.monitor) == ({"l2": 0.0}, "loss")


def test_a_field_that_is_a_function_is_no_flag():
    assert list(Sums(network=len).settings()) == ["count"]
