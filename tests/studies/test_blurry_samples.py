"""The measure by hand, a short run, and the verdict."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import blurry_samples as study


@pytest.mark.slow
@pytest.mark.covers("GE-30")
def test_waves_have_their_power_and_a_mean_of_images_has_less():
    """A wave of 3 cycles in 8 pixels is above a quarter of a cycle a pixel, one of 1 in 8 is not."""
    along = np.arange(8) / 8
    fast, slow = (np.broadcast_to(np.cos(2 * np.pi * k * along), (8, 8))[None, ..., None] for k in (3, 1))
    assert float(study.high_power(jnp.asarray(slow))) == pytest.approx(0, abs=1e-6)
    # Its power is 64 / 2 in all; of 64 frequencies, those with |f| > 1/4 are counted.
    f = np.fft.fftfreq(8)
    count = (np.hypot(f[:, None], f) > 0.25).sum()
    assert float(study.high_power(jnp.asarray(fast))) == pytest.approx(32 / count, rel=1e-5)
    shifted = np.concatenate([np.roll(fast, k, 2) for k in range(3)])
    blurred = np.broadcast_to(shifted.mean(0), shifted.shape)
    assert float(study.high_power(jnp.asarray(blurred))) < 0.5 * float(study.high_power(jnp.asarray(shifted)))


def measured(**changes):
    power = {"L2 VAE": np.array([0.3, 0.4]), "adversarial VAE": np.array([0.8, 0.9]), "GAN": np.array([1.1, 0.9])}
    return study.report({**power, **changes}, {arm: np.array([1.0, 2.0]) for arm in study.ARMS})


@pytest.mark.covers("GE-30")
def test_the_verdict_turns_where_arms_are_swapped():
    good = measured()
    assert good.holds
    assert "L2 VAE 0.35, 1.50; adversarial VAE 0.85, 1.50; GAN 1.00, 1.50" in good.verdict
    np.testing.assert_allclose(good.headline.values, [0.3, 0.4])
    for other in ("adversarial VAE", "GAN"):
        first = measured().numbers["high-frequency power, L2 VAE"]
        swapped = measured(**{"L2 VAE": np.array([0.8, 0.9]), other: np.asarray(first)})
        assert not swapped.holds
        assert "NOT the blurriest" in swapped.verdict
    assert not measured(
        **{"L2 VAE": np.array([1.2, 1.2]), "GAN": np.ones(2) * 2, "adversarial VAE": np.ones(2) * 2}
    ).holds


@pytest.mark.weekly
@pytest.mark.covers("GE-30")
def test_a_short_run_of_each_arm_trains_what_its_name_says():
    """After 80 steps the L2 VAE's samples are digits on average and smooth; the GAN alone has no encoder to learn."""
    result = study.study(num_seeds=1, steps=80)
    power = {arm: result.numbers[f"high-frequency power, {arm}"][0] for arm in study.ARMS}
    assert 0 < power["L2 VAE"] < 0.7
    assert power["L2 VAE"] < power["GAN"]
    assert set(result.figures) == {"power", "samples"}
