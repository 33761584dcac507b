"""Sanity and gradcheck of the experiments: they pass as the file stands, and a gradient times three fails them.

One experiment of each kind in every run, at the sizes of --smoke; all of them at their defaults under -m contract.
"""

import dataclasses

import jax
import pytest

from dlcore.experiment.catalog import experiment_names, find_experiment
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.modes.sanity import CHECKS, Bench

GRADIENT = CHECKS[3]
WITH_LOSS = {
    "classification.distillation",
    "classification.supervised",
    "detection.fcos",
    "detection.single_stage",
    "generative.ddpm",
    "self_supervised.moco",
    "self_supervised.simclr",
    "sequence.char_rnn",
}
WITHOUT_LOSS = {
    "generative.gan",
    "generative.ring_gan",
    "interpretability.class_image",
    "interpretability.feature_inversion",
    "interpretability.style_transfer",
    "rl.dqn",
    "rl.ppo",
}
CHEAP = ("classification.supervised", "detection.fcos", "generative.ddpm", "self_supervised.moco", "sequence.char_rnn")


@jax.custom_vjp
def tripled(x):
    return x


tripled.defvjp(lambda x: (x, None), lambda _, g: (jax.tree.map(lambda g: 3 * g, g),))


def times_three(experiment):
    """The experiment with a right loss whose gradient is three times too large."""

    def build(setup):
        learner = experiment.build(setup)
        return learner._replace(loss=lambda params, *rest: learner.loss(tripled(params), *rest))

    return dataclasses.replace(experiment, build=build)


def gradient(experiment, *words):
    resolved = ResolvedRun(experiment, resolve(experiment, list(words)))
    return GRADIENT(Bench(resolved, experiment.data(resolved.flags.replace(**resolved.plain))))


@pytest.mark.parametrize("name", CHEAP)
def test_a_gradient_times_three_fails_and_the_right_one_passes(name):
    experiment = find_experiment(name)
    row = gradient(experiment, "--smoke")
    assert row.passed is True, row
    row = gradient(times_three(experiment), "--smoke")
    assert row.passed is False, row
    assert row.measured.startswith("6.7e-01 at"), "|3 - 1| / 3"


def test_every_experiment_is_in_one_of_the_lists():
    names = {entry.name for entry in experiment_names() if "Experiment(" in entry.path.read_text()}
    assert names == WITH_LOSS | WITHOUT_LOSS
