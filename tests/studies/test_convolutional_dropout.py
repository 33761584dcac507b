"""What each form of dropout drops, and the verdict."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from experiments.studies import convolutional_dropout as study

GOOD = {study.PLAIN: 0.90, study.VALUES: 0.91, study.MAPS: 0.92, study.UNITS: 0.93, study.NORM: 0.94}


def results(accuracy):
    """One rate without dropout, four with it, the third of which is best in validation."""
    valid = np.array([0.5, 0.6, 0.8, 0.7])

    def of(arm, value):
        if arm in (study.PLAIN, study.NORM):
            return np.full((3, 1, 2), value)
        return np.stack(np.broadcast_arrays(valid, np.where(valid == 0.8, value, 0.1), np.zeros((3, 1)))[:2], -1)

    return {arm: of(arm, value) for arm, value in accuracy.items()}


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, True),
        # The arms swapped.
        ({study.VALUES: 0.94, study.NORM: 0.91}, False),
        ({study.VALUES: 0.92, study.MAPS: 0.91}, False),
        ({study.VALUES: 0.93, study.UNITS: 0.91}, False),
    ],
)
def test_the_verdict(changes, holds):
    result = study.report(results(GOOD | changes))
    assert result.holds is holds
    assert result.headline.values == pytest.approx([(GOOD | changes)[study.VALUES] - 0.9] * 3)
    assert "rate 0.35" in result.verdict


def test_one_seed_against_the_claim_is_enough():
    arms = results(GOOD)
    arms[study.NORM] = arms[study.NORM].copy()
    arms[study.NORM][1, 0, 1] = 0.9
    assert not study.report(arms).holds


@pytest.mark.slow
def test_each_arm_drops_maps_values_or_nothing():
    """Of the first convolution's map: whole maps of an example, single values, or nothing."""
    x = jnp.ones((4, 8, 8, 1))

    def dropped(arm):
        net, seen = study.Net(arm), []
        shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), x, False))["params"]
        params = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes)

        def spy(next_fun, args, kwargs, context):
            if context.module.name in ("conv1", "head"):
                seen.append(args[0])
            return next_fun(*args, **kwargs)

        def apply(params):
            with nn.intercept_methods(spy):
                net.apply({"params": params}, x, True, 0.5, rngs={"dropout": jax.random.key(1)})
            return seen

        return [np.asarray(v) == 0 for v in jax.jit(apply)(params)]

    maps, units = dropped(study.MAPS)
    assert (maps.all((1, 2)) == maps.any((1, 2))).all()
    assert 0.2 < maps.mean() < 0.8
    assert not units.any()
    values, units = dropped(study.VALUES)
    assert 0.4 < values.mean() < 0.6
    assert not values.all((1, 2)).any()
    assert not units.any()
    values, units = dropped(study.UNITS)
    assert not values.any()
    assert 0.3 < units.mean() < 0.7
