"""What an experiment takes from its task: flags, and the fields that the page leaves at their defaults."""

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from flax import linen as nn

from dlcore.experiment.experiment import Experiment
from dlcore.experiment.setting import field_settings
from dlcore.experiment.task import Task
from dlcore.kits.training.optimizer import AdamW


@dataclasses.dataclass(frozen=True)
class Pixels(Task):
    """A task.

    Args:
      modules: networks
      noise: standard deviation of the noise
    """

    modules: dict[str, Callable[..., nn.Module]]
    noise: float = 0.5

    plain: ClassVar[dict[str, Any]] = {"noise": 0.0}
    headline = "psnr"


def learner():
    """A technique without flags."""


def test_a_task_gives_its_modules_and_measures():
    task = Pixels(modules={"net": nn.Dense})
    experiment = Experiment(__file__, __doc__, learner, task=task)
    assert experiment.task.headline == "psnr"
    assert experiment.task.plain == {"noise": 0.0}  # the default of both is a dict of its own
    assert experiment.merged.modules == {"net": nn.Dense}


def test_a_page_replaces_what_its_task_gives():
    class Named(Pixels):
        defaults: ClassVar[dict[str, Any]] = {"noise": 0.25, "steps": 10}
        smoke: ClassVar[dict[str, Any]] = {"steps": 1}

    task = Named(modules={"net": nn.Dense})
    page = Experiment(__file__, __doc__, learner, task=task, defaults={"steps": 20}, optimizer=AdamW())
    assert page.merged.defaults == {"noise": 0.25, "steps": 20}
    assert page.merged.smoke == {"steps": 1}
    assert {"noise", "learning_rate"} < page.merged.settings.keys()
    other = dataclasses.replace(page, modules={"unet": nn.Conv}, smoke={"steps": 2}, task=Named(modules={}, noise=0.75))
    assert (other.merged.modules, other.merged.smoke) == ({"unet": nn.Conv}, {"steps": 2})
    assert other.merged.settings["noise"].default == 0.75


def test_a_field_that_cannot_be_a_flag_is_none():
    settings = field_settings(Pixels(modules={"net": nn.Dense}))
    assert list(settings) == ["noise"]
    assert settings["noise"].help == "standard deviation of the noise"


def test_a_value_that_a_flag_refuses_is_refused_by_the_task():
    with pytest.raises(ValueError, match=r"^noise=x: not a float; allowed: numbers$"):
        Pixels(modules={}, noise="x")
    with pytest.raises(ValueError, match=r"^optimizer='adamx': "):
        AdamW(optimizer="adamx")


def test_the_arguments_of_a_page_stand_beside_those_of_its_task():
    class Named(Pixels):
        def arguments(self, setup):
            return {"model": "of the task", "preprocess": "of the task"}

    setup = SimpleNamespace(flags=SimpleNamespace(group=lambda name: {"rate": 0.5}))
    arguments = Named(modules={}).build(dict, None, setup, arguments=lambda setup: {"model": "of the page"})
    assert arguments == {"model": "of the page", "preprocess": "of the task", "rate": 0.5}
