"""Covered modes by hand, the arms' updates, and the verdict on a GAN out of balance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.ring import ring_centers
from experiments.studies import unbalanced_gan as study


def test_modes_and_good_samples_are_counted():
    """Half of the samples on mode 0, a quarter on mode 1, the others at the center, or nowhere."""
    centers = ring_centers()
    points = np.concatenate([np.tile(centers[0], (4, 1)), np.tile(centers[1], (2, 1)), np.zeros((2, 2))])
    assert study.measure(points) == {"modes": 2, "good": 0.75}
    points[-2:] = np.nan, np.inf
    assert study.measure(points) == {"modes": 2, "good": 0.75}


@pytest.mark.parametrize(
    ("name", "generator", "discriminator"),
    [
        ("balanced", 5, 5),
        ("generator, rate", 50, 5),
        ("generator, steps", 5, 1),
        ("discriminator, rate", 5, 50),
        ("discriminator, steps", 1, 5),
    ],
)
def test_the_player_ahead_takes_longer_steps_or_more(name, generator, discriminator):
    """In units of the learning rate, which is Adam's step under an equal gradient; five gradients."""
    optimizers = study.optimizers(study.ARMS[name], 1e-3)
    for player, steps in (("generator", generator), ("discriminator", discriminator)):
        optimizer, params = optimizers[f"{player}_optimizer"], jnp.zeros(())

        @jax.jit
        def run(params, optimizer=optimizer):
            def update(_, carry):
                updates, state = optimizer.update(jnp.ones(()), carry[1], carry[0])
                return carry[0] + updates, state

            return jax.lax.fori_loop(0, 5, update, (params, optimizer.init(params)))[0]

        assert float(run(params)) == pytest.approx(-1e-3 * steps, rel=1e-4)


@pytest.mark.parametrize("name", study.ARMS)
def test_each_player_gets_its_own_optimizer(name):
    """The one of the player behind gathers gradients in the arms by steps."""
    learner = study.learner_of(study.ARMS[name], 1e-3, 2, 0.0)
    batch = {"point": jnp.ones((2, 2)), "index": jnp.arange(2)}
    state = jax.eval_shape(learner.init, jax.random.key(0), batch).opt_state
    gathers = {player for player in state if hasattr(state[player], "mini_step")}
    assert gathers == {"generator, steps": {"discriminator"}, "discriminator, steps": {"generator"}}.get(name, set())


def rows(*modes):
    return [{"modes": count, "good": 0.5} for count in modes]


GOOD = {name: rows(5.0, 6.0) for name in study.ARMS} | {"balanced": rows(8.0, 7.0)}


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, True),
        *(({name: GOOD["balanced"], "balanced": GOOD[name]}, False) for name in study.ARMS if name != "balanced"),
        *(({name: rows(5.0, 7.0)}, False) for name in study.ARMS if name != "balanced"),  # one seed
        ({"balanced": rows(8.0, 6.5)}, False),
    ],
)
def test_the_verdict(changes, holds):
    result = study.report(GOOD | changes)
    assert result.holds is holds
    if not changes:
        assert list(result.headline.values) == [8, 7]
        assert result.headline.baseline[0] == 5.5
