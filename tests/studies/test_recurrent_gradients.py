"""The norms against closed forms, and the verdict."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import recurrent_gradients as study


@pytest.mark.slow(unless=["1.1"])
@pytest.mark.covers("SQ-11")
@pytest.mark.parametrize("scale", [0.9, 1.0, 1.1])
def test_the_linear_cell_follows_the_power_and_tanh_stays_below(scale):
    with jax.enable_x64(True):
        linear, tanh = (study.rnn_norms(0, scale, 12, 5, linear) for linear in (True, False))
    np.testing.assert_allclose(linear, scale ** np.arange(1, 13), rtol=1e-12)
    assert (tanh < linear).all()
    assert (tanh > 0).all()


@pytest.mark.slow
@pytest.mark.covers("SQ-11")
def test_an_lstm_with_open_forget_gates_passes_everything():
    with jax.enable_x64(True):
        np.testing.assert_array_equal(study.lstm_norms(1, 12, 4), 1)


def test_the_norm_of_a_known_product():
    # h' = h diag(2, 3) twice: the largest singular values are 3 and 9.
    with jax.enable_x64(True):
        norms = study.jacobian_norms(lambda h, a: h * jnp.array([2.0, 3.0]) + a, jnp.zeros((2, 2)), jnp.ones(2))
    np.testing.assert_allclose(norms, [3, 9])


def test_the_figure_has_every_scale():
    norms = {(cell, s): np.ones((1, 3)) for cell in ("linear", "tanh") for s in (0.8, 0.9, 1.0, 1.1)}
    labels = study.draw(norms, np.ones((1, 3))).axes[0].get_legend_handles_labels()[1]
    assert [label for label in labels if "1.1" in label] == ["linear, s = 1.1", "tanh, s = 1.1"]


def measured(difference=1e-15, tanh=0.5, error=0.0, lstm=1.0):
    steps = np.arange(1, 6)
    norms = {("linear", s): np.array([s**steps * (1 + error)]) for s in (0.9, 1.1)}
    norms |= {("tanh", s): np.array([s**steps * tanh]) for s in (0.9, 1.1)}
    return {"by hand and by scan": difference}, norms, np.full((1, 5), lstm)


@pytest.mark.covers("SQ-11")
def test_the_verdict_turns():
    good = study.report(*measured())
    assert good.holds
    assert "s = 1.1: 1.6 linear (s^T = 1.6), 0.8 tanh" in good.verdict
    for changed in ({"difference": 1e-9}, {"tanh": 1.01}, {"error": 1e-6}, {"lstm": 1 - 1e-9}):
        assert not study.report(*measured(**changed)).holds


@pytest.mark.weekly
def test_a_short_run_holds():
    result = study.study(**study.experiment.smoke)
    assert result.holds
    assert set(result.figures) == {"norms"}


@pytest.mark.slow
@pytest.mark.covers("SQ-11")
def test_two_steps_of_an_open_lstm_and_of_tanh():
    """c passes whole; one unit with kernel s = 0.9 keeps 0.9 (1 - h^2) a step."""
    with jax.enable_x64(True):
        np.testing.assert_array_equal(study.lstm_norms(1, 2, 1), 1)
        step = jax.jit(lambda: study.jacobian_norms(
            lambda h, a: jnp.tanh(a + 0.9 * h), jnp.array([[0.3], [-0.2]]), jnp.array([0.5])
        ))  # fmt: skip
        norms = step()
    first = np.tanh(0.3 + 0.9 * 0.5)
    second = np.tanh(-0.2 + 0.9 * first)
    slopes = 0.9 * (1 - np.square([first, second]))
    np.testing.assert_allclose(norms, [slopes[0], slopes[0] * slopes[1]], rtol=1e-12)
