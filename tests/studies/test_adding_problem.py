"""The counted steps, the network's answer, the verdict, and a tiny run that learns."""

import chex
import jax
import numpy as np
import pytest

from dlcore.data.adding import adding
from dlcore.nn.recurrent import Recurrent
from experiments.studies import adding_problem as study


@pytest.mark.covers("SQ-11")
def test_steps_are_counted_up_to_the_first_measurement_that_is_low_enough():
    assert study.steps_to(np.array([0.2, 0.02, 0.01, 0.3]), 50) == 150
    assert study.steps_to(np.array([0.2, 0.02]), 50) is None


@pytest.mark.slow
def test_the_answer_is_read_off_the_last_state():
    x = adding(2, 0, 5).arrays["sequence"]
    net = study.LastAnswer("lstm", 3)
    params = net.init(jax.random.key(0), x)["params"]
    layer = Recurrent(3, "lstm")
    _, h = layer.apply({"params": params["recurrent"]}, layer.initial_carry(2), x)
    want = h[:, -1] @ params["head"]["kernel"][:, 0] + params["head"]["bias"]
    np.testing.assert_allclose(net.apply({"params": params}, x), want, rtol=1e-5)


@pytest.mark.weekly
@pytest.mark.covers("SQ-11")
def test_a_short_sum_is_learnt():
    options = {"width": 16, "steps": 200, "batch_size": 32, "learning_rate": 0.02, "every": 20}
    measured = study.errors("lstm", 4, 0, **options)
    chex.assert_shape(measured, (10,))
    assert measured[-1] < 0.01 < 0.03 < measured[0]  # a constant: 1/6
    np.testing.assert_array_equal(study.errors("lstm", 4, 0, until=1.0, **options), measured[:1])


def measured(lstm=0.004, rnn=0.15):
    curves = {"lstm": [np.array([0.2, 0.009, lstm])] * 2, "rnn": [np.array([0.2, rnn, 0.16])] * 2}
    return curves, {20: np.array([0.2, 0.2])}, 100, 50


@pytest.mark.covers("SQ-11")
def test_the_verdict_turns():
    good = study.report(*measured())
    assert good.holds
    assert "Steps of the LSTM to 0.01, T = 20: never; T = 100: 100, 100." in good.verdict
    assert good.headline.values == [0.004, 0.004]
    assert not study.report(*measured(lstm=0.006)).holds
    assert not study.report(*measured(rnn=0.11)).holds


def test_steps_that_do_not_divide_are_named():
    with pytest.raises(ValueError, match="every=3: does not divide 4 steps"):
        study.study(**study.experiment.smoke | {"every": 3})
