"""Families, their runs, the references, the quality of samples, and the verdict."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.learner import Learner
from experiments.studies import generative_families as study
from experiments.studies.small_runs import Digits

SHAPE = 8, 8, 1
ONES = np.ones((6, *SHAPE), np.float32)
DATA = Digits(ONES * np.arange(6)[:, None, None, None] / 16, np.arange(6), ONES[:2] * 0.25, np.arange(2))


def toy(steps, shape):
    """Learns the sum of the labels, and draws its key's seed."""

    def update(state, batch):
        return {**state, "sum": state["sum"] + batch["label"].sum()}, {}

    def predict(state, batch):
        seed = jax.random.key_data(state["key"])[1]
        return {"sample": jnp.full((len(batch["index"]), *SHAPE), seed) + 0 * state["sum"]}

    def init(key, batch):
        return {"key": key, "sum": jnp.zeros((), batch["label"].dtype)}

    return Learner(init, update, lambda state, batch: {}, predict, None)


def test_a_family_trains_and_draws_with_each_seed(monkeypatch):
    monkeypatch.setitem(study.FAMILIES, "vae", toy)
    (first, costs), (second, _) = study.runs("vae", DATA, 3, 2, 2, 5)
    chex.assert_shape(first, (5, *SHAPE))
    assert (float(first[0, 0, 0, 0]), float(second[0, 0, 0, 0])) == (0, 1)
    assert set(costs) == {"training, s", "sampling, s"}
    assert min(costs.values()) > 0


@pytest.mark.slow
def test_references_are_of_the_training_images():
    (images, costs), _ = study.reference_runs("training_images", DATA, 2, 4)
    levels = 16 * np.asarray(images)[:, 0, 0, 0]
    assert set(levels) <= set(range(6))
    assert len(set(levels)) == 4  # without repetition
    assert costs == {}
    (pixels, bits), _ = study.reference_runs("independent_pixels", DATA, 2, 40)
    chex.assert_shape(pixels, (40, *SHAPE))
    assert all(len(np.unique(image)) > 1 for image in np.asarray(pixels))
    # The level 4 of all test pixels is one of 6 in training; each of 17 levels counts once more: 2 of 23.
    assert bits["bits per dimension"] == pytest.approx(np.log2(23 / 2), rel=1e-5)


def test_levels_lose_nothing_of_the_digits():
    grays = jnp.arange(17) / 16
    np.testing.assert_array_equal(study.quantize(grays, study.LEVELS), np.arange(17))


def test_quality_of_samples_in_one_place():
    """All samples lie at the corner 3 of a square's points: a ball holds them, and no ball of them holds a point."""
    reference = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1], [0.5, 0.5], [0.2, 0.1], [0.3, 0.8]])
    measures = study.quality(np.tile([[1.0, 1.0]], (4, 1)), reference)
    assert (measures["precision"], measures["recall"]) == (1, 0)
    # Without variance the distance is |mean - (1, 1)|^2 + tr cov; the sum of squares to (1, 1) has n, cov n - 1.
    mean, cov = reference.mean(0), np.cov(reference.T)
    assert measures["Fréchet distance"] == pytest.approx(np.square(mean - 1).sum() + np.trace(cov), rel=1e-6)
    assert study.quality(reference[:6], reference)["recall"] > 0


def row(distance, **others):
    images = np.zeros((3, 8, 8), int).tolist()
    return {"Fréchet distance": [distance, distance + 0.5], "KID": [0.1, 0.3], **others, "samples": images}


def table(**changes):
    distances = dict.fromkeys(study.ROWS, 5.0) | dict.fromkeys(study.RIVALS, 6.0) | changes
    return {name: row(value) for name, value in distances.items()}


def test_the_verdict_turns():
    result = study.report(table(gan=7.0, edm=4.0))
    assert result.holds
    np.testing.assert_allclose(result.headline.values, [1, 1])  # 6 - 5
    assert result.verdict.startswith("Fréchet distance: edm 4.25, ")
    assert "the best of vae, gan, style_gan2 by +1.00; for each seed." in result.verdict
    assert result.numbers["gan"]["Fréchet distance"] == "7.25 ± 0.25"
    assert (result.numbers["gan"]["KID"], result.numbers["gan"]["recall"]) == ("0.2 ± 0.1", "–")
    for changes in ({"gan": 4.9}, {"vae": 4.9}, {"style_gan2": 4.9}, {"ddpm": 6.1}, {"edm": 6.1}):
        turned = study.report(table(**changes))
        assert not turned.holds
        assert "NOT for each seed" in turned.verdict
    # Rows that the claim does not name change nothing.
    assert study.report(table(consistency=9.0, glow=1.0)).holds


def test_one_seed_is_enough_against_the_claim():
    rows = table()
    rows["gan"]["Fréchet distance"] = [9.0, 5.4]  # the diffusion models have 5 and 5.5
    assert not study.report(rows).holds


def test_a_part_of_the_table_has_no_verdict():
    result = study.report({name: cells for name, cells in table().items() if name != "style_gan2"})
    assert (result.holds, result.headline) == (None, None)


def test_an_unknown_family_and_a_size_of_digits_are_refused():
    with pytest.raises(ValueError, match="image_size=4: digits have 8 x 8 pixels; allowed: a size with another"):
        study.study(image_size=4)
    with pytest.raises(ValueError, match="families=made: unknown; allowed: vae, gan, style_gan2, glow, pixel_cnn"):
        study.study(families=("made",))


@pytest.mark.weekly
@pytest.mark.parametrize("name", study.FAMILIES)
def test_every_family_trains_and_draws(name):
    ((samples, numbers),) = study.runs(name, study.shuffled_digits(), 2, 4, 1, 3)
    chex.assert_shape(samples, (3, 8, 8, 1))
    assert bool(((samples >= 0) & (samples <= 1)).all())
    assert ("bits per dimension" in numbers) == (name in ("glow", "pixel_cnn"))
