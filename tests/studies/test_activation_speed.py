"""Steps to a loss by hand, the networks, and the verdict on speed and noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import activation_speed as study


def test_steps_are_counted_to_the_first_loss_below_the_target():
    """Measured every 5 steps: below at the second, at the first, never; not where a loss is not finite."""
    losses = np.array([[2.0, 0.05, 0.3], [0.01, 0.5, 0.01], [0.2, 0.2, 0.1], [np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(study.first_below(losses, 0.1, 5), [10, 5, 15, 15])


def test_noise_costs_a_share_of_the_clean_accuracy():
    """From 0.8 to 0.6 and 0.2: on average half of it."""
    np.testing.assert_allclose(study.lost_share(np.array([[0.8, 0.6, 0.2], [0.9, 0.9, 0.9]])), [0.5, 0])


@pytest.mark.slow(unless=["relu-0.03125", "tanh-0.015625"])
@pytest.mark.parametrize(
    ("name", "variance"), [("relu", 2 / 64), ("elu", 2 / 64), ("tanh", 1 / 64), ("sigmoid", 1 / 64)]
)
def test_weights_start_at_the_scale_of_the_activation(name, variance):
    net = study.Net(name)
    kernel = jax.jit(net.init, static_argnums=2)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)), False)["params"]["dense1"][
        "kernel"
    ]
    assert float(kernel.var()) == pytest.approx(variance, rel=0.1)


def losses(step):
    """Of two seeds at each rate, measured five times: at the second rate below the target from `step` on."""
    rows = np.ones((len(study.RATES), 2, 5))
    rows[1, :, step:] = 0.01
    return rows


def accuracy(noisy):
    rows = np.full((len(study.RATES), 2, len(study.NOISE)), 0.1)
    rows[1] = 0.9
    rows[1, :, 1:] = np.array(noisy)[:, None]
    return rows


FAST = {"relu": losses(0), "elu": losses(0), "tanh": losses(1), "sigmoid": losses(3)}
STEADY = {"relu": accuracy([0.7, 0.6]), "elu": accuracy([0.8, 0.7])}


@pytest.mark.parametrize(
    ("faster", "steadier", "holds"),
    [
        ({}, {}, True),
        # The arms swapped.
        ({"relu": FAST["tanh"], "tanh": FAST["relu"]}, {}, False),
        ({"relu": FAST["sigmoid"], "sigmoid": FAST["relu"]}, {}, False),
        ({}, {"relu": STEADY["elu"], "elu": STEADY["relu"]}, False),
        ({"tanh": FAST["relu"]}, {}, False),  # equally fast
        ({}, {"elu": accuracy([0.8, 0.5])}, False),  # one seed
    ],
)
def test_the_verdict(faster, steadier, holds):
    result = study.report(FAST | faster, STEADY | steadier, 0.1, 5)
    assert result.holds is holds
    assert result.numbers["learning rate, relu"] == study.RATES[1]
    if not faster:
        np.testing.assert_array_equal(result.headline.values, [5, 5])
        assert result.headline.baseline[0] == 10


def test_steps_must_be_measured_at_the_end():
    with pytest.raises(ValueError, match="steps=7: not divisible; allowed: multiples of every=5"):
        study.study(steps=7)
