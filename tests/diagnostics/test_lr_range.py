"""Range tests of a quadratic, whose stable rates are known, and of a small perceptron; curves that were written."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.diagnostics.lr_range import lr_range_test, read_range_test


@pytest.mark.parametrize("curvature", [0.1, 1.0, 50.0])
def test_a_quadratic_turns_at_two_over_its_curvature(curvature):
    """w <- (1 - rate λ) w shrinks while rate < 2 / λ, so the loss is lowest there."""
    rates, losses = lr_range_test(
        lambda w, _: curvature * w**2 / 2, jnp.float32(1), jnp.zeros(60), low=1e-3 / curvature, high=20 / curvature
    )
    np.testing.assert_allclose(rates[jnp.array([0, -1])], np.array([1e-3, 20]) / curvature, rtol=1e-4)
    np.testing.assert_allclose(rates[1:] / rates[:-1], 20000 ** (1 / 59), rtol=1e-3)
    found = read_range_test(rates, losses, window=3)
    step = 20000 ** (1 / 59)
    assert 2 / step**2 <= found.lowest * curvature <= 2 * step**2
    assert found.steepest < found.lowest < found.diverges


def test_the_losses_are_those_of_the_optimizer_by_hand():
    """w = 1, L = w^2: rates .1, .2, .4 give w = 1, .8, .48."""
    rates, losses = lr_range_test(lambda w, _: w**2, jnp.float32(1), jnp.zeros(3), 0.1, 0.4)
    np.testing.assert_allclose(rates, [0.1, 0.2, 0.4], rtol=1e-6)
    np.testing.assert_allclose(losses, [1, 0.8**2, 0.48**2], rtol=1e-5)
    # Adam's first step is the rate itself, by the gradient's sign: w = 1, .9
    _, losses = lr_range_test(lambda w, _: w**2, jnp.float32(1), jnp.zeros(2), 0.1, 0.4, optax.adam)
    np.testing.assert_allclose(losses, [1, 0.81], rtol=1e-4)


def test_each_step_sees_its_own_batch():
    _, losses = lr_range_test(lambda w, b: b["x"] + 0 * w, jnp.float32(1), {"x": jnp.arange(4.0)})
    np.testing.assert_allclose(losses, [0, 1, 2, 3])


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_written_curve_is_read(noise):
    """Flat at 2.3 to 1e-3, down to .8 at 1e-1 by equal parts of the logarithm, and up from there.

    Windows are 14 points, .7 decades.
    """
    rates = np.logspace(-6, 1, 141)
    losses = np.interp(np.log10(rates), [-6, -3, -1, 0, 1], [2.3, 2.3, 0.8, 1.5, 60])
    losses += noise * np.random.default_rng(0).normal(size=len(rates))
    found = read_range_test(rates, losses)
    assert 1e-3 < found.steepest < 1e-1
    assert 5e-2 < found.lowest < 5e-1
    assert 1 < found.diverges <= 10
    assert read_range_test(rates[:80], losses[:80]).diverges is None
    losses[100] = np.nan
    assert read_range_test(rates, losses).diverges == rates[100]


@pytest.mark.parametrize(("window", "spoiled"), [(None, 33), (3, None), (6, 36)])
def test_windows_are_read_as_loops_read_them(window, spoiled):
    """A noisy fall and rise of 45 losses, of which one may be infinite; a tenth of 45 is four."""
    rng, rates = np.random.default_rng(0), np.logspace(-4, 0, 45)
    losses = np.interp(np.arange(45), [0, 10, 25, 36, 44], [2, 2, 0.5, 1.4, 9]) + 0.1 * rng.normal(size=45)
    if spoiled:
        losses[spoiled] = np.inf
    width = window or 4
    means, slopes, diverges = [], [], None
    for first in range(45 - width + 1):
        part = losses[first : first + width]
        if not part.mean() <= 4 * min([*means, part.mean()]):
            diverges = rates[first + width - 1]
            break
        means.append(part.mean())
        slopes.append(np.polyfit(np.arange(width), part, 1)[0])
    lowest = int(np.argmin(means))
    steepest = int(np.argmin(slopes[: lowest + 1]))
    found = read_range_test(rates, losses, window)
    assert found == (rates[steepest + width // 2], rates[lowest + width // 2], diverges)
    assert diverges is not None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lr_range_test(lambda w, _: w, 1.0, jnp.zeros(3), low=0), "low=0: no range up to high=10.0"),
        (lambda: lr_range_test(lambda w, _: w, 1.0, jnp.zeros(3), low=2, high=1), "allowed: 0 < low < high"),
        (lambda: lr_range_test(lambda w, _: w, 1.0, jnp.zeros(1)), "batches=1 steps: too few"),
        (lambda: read_range_test([1, 2, 3], [np.nan, 1, 1]), "losses of the first window being finite"),
        (lambda: read_range_test([1, 2, 3], [1, 1, 1], window=4), r"window=4: unusable; allowed: 3 to 3"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_it_runs_compiled():
    run = jax.jit(lambda w: lr_range_test(lambda w, _: w @ w, w, jnp.zeros(5)))
    chex.assert_shape(run(jnp.ones(3))[1], (5,))
