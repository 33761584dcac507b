"""What the lens and the guards do to pixels, arms by name, and the verdict."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import shortcuts as study


@pytest.mark.slow
@pytest.mark.covers("SS-25")
def test_the_lens_spreads_red_and_gathers_blue_around_the_center():
    """A white square in the middle: red reaches farther than green, and blue less far; no border is dark."""
    photo = jnp.zeros((44, 44, 3)).at[12:32, 12:32].set(1.0)
    red, green, blue = np.moveaxis(np.asarray(study.lens(photo, 0.2, 36)), -1, 0)
    assert green.sum() == 400
    # 20 pixels times 1.2 and times .8, squared
    assert red.sum() == pytest.approx(24**2, rel=0.02)
    assert blue.sum() == pytest.approx(16**2, rel=0.02)
    np.testing.assert_allclose(study.lens(photo, 0.0, 36), photo[4:40, 4:40], atol=1e-6)
    assert study.lens(jnp.ones((44, 44, 3)), study.SPREAD, 36).min() > 0.99


@pytest.mark.slow
@pytest.mark.covers("SS-25")
def test_guards_part_the_patches_and_take_the_color():
    row = jnp.arange(44.0)[:, None, None] / 44
    photo = jnp.broadcast_to(row, (44, 44, 3)) * jnp.array([1.0, 0.5, 0.25])
    patches, place = study.exercise(jax.random.key(0), photo, study.ARMS["open"], 0.0)
    chex.assert_shape(patches, (2, 8, 8, 3))
    found = {}
    for seed in range(20):
        patches, place = study.exercise(jax.random.key(seed), photo, study.ARMS["open"], 0.0)
        found[int(place)] = float((patches[1, 0, 0, 0] - patches[0, 0, 0, 0]) * 44)
    # 1 is above: 8 rows less, where patches touch; 6 is below; 3 and 4 are in the same rows
    np.testing.assert_allclose([found[1], found[6], found[3]], [-8, 8, 0], atol=1e-4)
    gray, _ = study.exercise(jax.random.key(0), photo, study.ARMS["guarded"], 0.0)
    np.testing.assert_allclose(gray[..., 0], gray[..., 2], atol=1e-6)
    open_clean = study.without_shortcuts(study.ARMS["open"])
    assert open_clean == study.Guards(2, 2, False, False), "the same colors and contrast, but gaps"


@pytest.mark.covers("SS-25")
def test_the_verdict_turns_when_the_arms_are_swapped():
    results = {
        "open": np.array([[0.8, 0.4], [0.82, 0.4]]),
        "gaps": np.array([[0.6, 0.45], [0.6, 0.5]]),
        "guarded": np.array([[0.5, 0.5], [0.51, 0.5]]),
    }
    good = study.report(results)
    assert good.holds
    assert "open: 81.0% as trained, 40.0% without shortcuts" in good.verdict
    np.testing.assert_allclose(good.headline.values, [0.4, 0.41])
    assert not study.report(results | {"open": results["guarded"], "guarded": results["open"]}).holds
    assert not study.report(results | {"open": np.array([[0.8, 0.8], [0.8, 0.8]])}).holds


@pytest.mark.weekly
def test_a_short_run_learns_something():
    photo = study.sample_image("china", 427)
    train, test = study.crops(photo, slice(0, 300), 64, 0), study.crops(photo, slice(300, None), 64, 0)
    found = study.accuracies(study.ARMS["open"], train, test, 30, 16, 1, 1e-3)
    chex.assert_shape(found, (1, 2))
    assert 0 <= found.min() <= found.max() < 1


def test_the_arms_differ_by_gaps_and_by_color():
    """Gap and jitter in pixels, whether each patch is normalized by itself, and whether its color is taken."""
    assert {name: tuple(guards) for name, guards in study.ARMS.items()} == {
        "open": (0, 0, False, False),
        "gaps": (2, 2, True, False),
        "guarded": (2, 2, True, True),
    }
    assert study.Guards._fields[:3] == ("gap", "jitter", "by_piece")
