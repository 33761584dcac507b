"""Sanity and gradcheck of the experiments: they pass as the file stands, and a gradient times three fails them.

Two of them in every run, small; all of them at their defaults under -m weekly. The recipes need ImageNet; they are
classification.supervised with other settings.
"""

import jax
import pytest

from dlcore.experiment.parts import Run
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.main import run
from dlcore.modes.sanity import CHECKS, Bench
from experiments import experiment_names, find_experiment
from tests.overriding import with_run

GRADIENT = CHECKS[3]
WITHOUT_LOSS = {
    f"{topic}.{page}"
    for topic, pages in {
        "classification": "hard_attention",
        "generative": "conditional_gan cycle_gan energy_based gan pix2pix ring_gan "
        "style_gan style_gan2 var vq_gan vq_vae vq_vae_2",
        "interpretability": "class_image feature_inversion style_transfer texture_synthesis unit_images",
        "rl": "a2c dqn gail model_based ppo q_learning recurrent_ppo sac td3",
        "self_supervised": "synthetic_properties",
        "semi_supervised": "gan_classifier",
        "transfer": "domain_adaptation",
    }.items()
    for page in pages.split()
}
PAGES = {
    entry.name
    for entry in experiment_names()
    if "\nexperiment = Experiment(" in entry.path.read_text(encoding="utf-8")
    and not entry.name.startswith(("bench.", "recipes."))
}
WITH_LOSS = PAGES - WITHOUT_LOSS
CHEAP = {"classification.supervised": ["--smoke", "--model=mlp"], "sequence.char_rnn": ["--smoke"]}


@jax.custom_vjp
def tripled(x):
    return x


tripled.defvjp(lambda x: (x, None), lambda _, g: (jax.tree.map(lambda g: 3 * g, g),))


def times_three(experiment):
    """The experiment with a right loss whose gradient is three times too large."""

    def build(setup):
        learner = Run.build(setup)
        return learner._replace(loss=lambda params, *rest: learner.loss(tripled(params), *rest))

    return with_run(experiment, build=build)


def gradient(experiment, *words):
    resolved = ResolvedRun(experiment, resolve(experiment, list(words)))
    return GRADIENT(Bench(resolved, experiment.run(resolved.flags.replace(**resolved.plain)).load()))


@pytest.mark.weekly
@pytest.mark.parametrize("name", CHEAP)
def test_a_gradient_times_three_fails_and_the_right_one_passes(name):
    experiment = find_experiment(name)
    assert gradient(experiment, *CHEAP[name]).passed is True
    row = gradient(times_three(experiment), *CHEAP[name])
    assert row.passed is False
    assert row.measured.startswith("6.7e-01 at"), "|3 - 1| / 3"


@pytest.mark.weekly
@pytest.mark.parametrize("name", sorted(PAGES))
def test_an_experiment_passes_at_its_defaults(name, capsys):
    experiment = find_experiment(name)
    for mode in ("sanity", "gradcheck"):
        assert run(experiment, [f"--mode={mode}"]) == 0, capsys.readouterr().out
    out = capsys.readouterr().out
    assert ("the learner has no loss" in out) is (name in WITHOUT_LOSS)


@pytest.mark.weekly
@pytest.mark.parametrize("name", sorted(WITH_LOSS))
def test_a_gradient_times_three_fails_at_the_defaults(name, capsys):
    assert run(times_three(find_experiment(name)), ["--mode=gradcheck"]) == 1, capsys.readouterr().out


def test_every_page_without_a_loss_is_an_experiment():
    assert WITHOUT_LOSS < PAGES
