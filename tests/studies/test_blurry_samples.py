"""The measure by hand, what each arm trains, and the verdict."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import blurry_samples as study


@pytest.fixture(scope="module")
def trained():
    """(weights of an arm, factors of divergence, errors and adversary) -> samples after two steps."""
    images = jnp.asarray(np.random.default_rng(0).random((4, 2, 2, 1)), jnp.float32)

    @jax.jit
    def run(weights, factors):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(study, "BATCH", 2)
            kl, fooled = study.kl_to_standard_normal, study.non_saturating_generator_loss
            patch.setattr(study, "kl_to_standard_normal", lambda *z: factors[0] * kl(*z))
            patch.setattr(study, "non_saturating_generator_loss", lambda x: factors[2] * fooled(x))
            return study.train(weights, jax.random.key(0), images, 2, 1 / factors[1])

    return run


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


@pytest.mark.slow
@pytest.mark.covers("GE-30")
def test_the_weights_of_each_arm_and_the_terms_of_the_losses(monkeypatch):
    """The bound has the divergence of q(z | x) and not of anything else; the other loss is of -log D."""
    assert study.ARMS == {"L2 VAE": (1.0, 0.0), "adversarial VAE": (1.0, 1.0), "GAN": (0.0, 1.0)}
    used = []
    for name in ("kl_to_standard_normal", "non_saturating_generator_loss"):
        own = getattr(study, name)
        monkeypatch.setattr(study, name, lambda *z, own=own, name=name: (used.append((name, z[0].shape)), own(*z))[1])
    monkeypatch.setattr(study, "BATCH", 2)
    images = jnp.zeros((4, 2, 2, 1))
    jax.eval_shape(lambda w: study.train(w, jax.random.key(0), images, 2, 0.05), jnp.ones(2))
    assert set(used) == {("kl_to_standard_normal", (2, 8)), ("non_saturating_generator_loss", (2,))}


@pytest.mark.slow
@pytest.mark.weekly(only=["L2 VAE-1-0"])
@pytest.mark.covers("GE-30")
@pytest.mark.parametrize(
    ("arm", "has_bound", "has_adversary"), [("L2 VAE", 1, 0), ("adversarial VAE", 1, 1), ("GAN", 0, 1)]
)
def test_each_arm_has_the_terms_of_its_name(trained, arm, has_bound, has_adversary):
    """The divergence, the errors and the adversary each change the samples of the arms that have them, and no other."""
    weights = jnp.array(study.ARMS[arm], jnp.float32)
    plain = trained(weights, jnp.array([1.0, 1.0, 1.0]))
    for k, has in enumerate((has_bound, has_bound, has_adversary)):
        other = trained(weights, jnp.ones(3).at[k].set(-2.0))
        assert bool((other != plain).any()) == bool(has), ("divergence", "errors", "adversary")[k]
