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


def test_a_task_replaces_the_defaults_of_an_experiment():
    task = Pixels(modules={"net": nn.Dense})
    experiment = Experiment(__file__, __doc__, learner, task=task)
    assert experiment.headline == "psnr"
    assert experiment.plain == {"noise": 0.0}  # the default of both is a dict of its own
    assert experiment.modules == {"net": nn.Dense}


def test_a_page_replaces_what_its_task_gives():
    task = Pixels(modules={"net": nn.Dense})
    experiment = Experiment(__file__, __doc__, learner, task=task, headline="ssim", plain={"noise": 0.1})
    assert (experiment.headline, experiment.plain) == ("ssim", {"noise": 0.1})


def test_a_field_that_cannot_be_a_flag_is_none():
    settings = field_settings(Pixels(modules={"net": nn.Dense}))
    assert list(settings) == ["noise"]
    assert settings["noise"].help == "standard deviation of the noise"


def test_a_value_that_a_flag_refuses_is_refused_by_the_task():
    with pytest.raises(ValueError, match=r"^noise=x: not a float; allowed: numbers$"):
        Pixels(modules={}, noise="x")
    with pytest.raises(ValueError, match=r"^optimizer=adamx: "):
        AdamW(optimizer="adamx")


def test_the_arguments_of_a_page_stand_beside_those_of_its_task():
    class Named(Pixels):
        def arguments(self, setup):
            return {"model": "of the task", "preprocess": "of the task"}

    setup = SimpleNamespace(flags=SimpleNamespace(group=lambda name: {"rate": 0.5}))
    arguments = Named(modules={}).build(dict, None, setup, arguments=lambda setup: {"model": "of the page"})
    assert arguments == {"model": "of the page", "preprocess": "of the task", "rate": 0.5}


def test_a_copy_keeps_what_it_replaces():
    """None in the place of what the task gives stays None; another learner is built, and another task fills."""

    class Shown(Pixels):
        def panels(self, context):
            return []

    page = Experiment(__file__, __doc__, learner, task=Shown(modules={}), optimizer=AdamW())
    assert page.panels is not None
    bare = dataclasses.replace(page, panels=None, settings={})
    assert (bare.panels, bare.settings, bare.headline) == (None, {}, "psnr")
    assert dataclasses.replace(page, learner=dict).build.args[0] is dict
    other = Shown(modules={}, noise=0.25)
    again = dataclasses.replace(page, task=other)
    assert again.panels.__self__ is again.build.func.__self__ is other
