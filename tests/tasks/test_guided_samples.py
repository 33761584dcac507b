"""The guidance curve: a learner of the experiment for each strength, from the same state."""

from types import SimpleNamespace

import jax.numpy as jnp
import pytest

from dlcore.experiment.flags import Flags
from dlcore.experiment.task import Task
from dlcore.kits.generative.gan_optimizer import GANAdam
from dlcore.tasks.class_conditional import class_source
from dlcore.tasks.guided_samples import GuidedSamples, guidance_panel
from experiments.generative import dit


@pytest.mark.slow
def test_the_guidance_curve_measures_samples_of_each_strength():
    """Samples are the strength itself, so that their mean is the strength."""

    def build(setup):
        return SimpleNamespace(predict=lambda state, batch: {"sample": jnp.full((2, 4, 4, 1), setup.flags.guidance)})

    context = SimpleNamespace(flags=Flags({"guidance": 1.0}), spec={}, state=None, build=build)
    panels = guidance_panel(context, class_source(2, 2), lambda images: {"mean": float(images.mean())})
    assert "mean: 0 at 0, 0.5 at 0.5, 1 at 1, 2 at 2, 3 at 3, 5 at 5." in panels[1].html + panels[1].subtitle


def test_a_mutable_attribute_of_a_task_replaces_the_empty_default():
    assert dit.experiment.task.plain == GuidedSamples.plain
    assert dit.experiment.task.plain["condition_dropout"] == 0.0


def test_both_players_get_the_optimizer_and_the_page_its_own_arguments():
    """The technique returns what it takes: the page's networks, an optimizer for each player, and its flags."""

    def technique(**arguments):
        return arguments

    flags = SimpleNamespace(group=lambda name: {"latent_dim": 3}, optimizer="adam", learning_rate=0.1, momentum=0.5)
    flags.schedule = "constant"
    setup = SimpleNamespace(flags=flags, steps=1)
    arguments = Task().build(technique, GANAdam(), setup, arguments=lambda setup: {"generator": "g"})
    assert set(arguments) == {"generator", "generator_optimizer", "discriminator_optimizer", "latent_dim"}
