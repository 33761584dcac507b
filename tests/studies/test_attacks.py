"""The network, a whole measurement of it, and the verdict."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import attacks as study

GOOD = {
    "accuracy, none": 0.97,
    "accuracy, FGSM": 0.1,
    "accuracy, PGD": 0.01,
    "accuracy, PGD, largest ball": 0.0,
    "accuracy, transfer": 0.3,
    "accuracy, NES": 0.02,
    "accuracy, random signs": 0.8,
    "accuracy, worst attack": 0.01,
    "targeted success": 0.95,
    "success of NES": 0.97,
    "median queries of NES": 400.0,
    "only NES succeeds": 0.0,
    "least certainty on noise": 0.995,
}
SHOWN = {"digits": np.zeros((2, 8, 8, 1))}


def test_the_network_is_two_layers_on_images_in_the_unit_range():
    x, _ = study.images("test")
    assert (x.shape[1:], float(x.min()), float(x.max())) == ((8, 8, 1), 0.0, 1.0)
    params = {
        "hidden": {"kernel": jnp.eye(64, 128), "bias": -0.5 * jnp.ones(128)},
        "head": {"kernel": jnp.ones((128, 10)) * jnp.arange(10), "bias": jnp.zeros(10)},
    }
    want = np.maximum(np.asarray(x[0]).reshape(-1) - 0.5, 0).sum() * np.arange(10)
    np.testing.assert_allclose(study.score_fn(params)(x[0]), want, rtol=1e-5)


@pytest.mark.weekly
@pytest.mark.covers("AD-01", "AD-02", "AD-03", "AD-05", "AD-07")
def test_a_network_falls_and_each_arm_is_its_attack():
    numbers, shown = study.attack_network(0, 0.3, 600, 40, 2000)
    assert numbers["accuracy, none"] > 0.85
    assert numbers["accuracy, PGD"] < 0.1
    assert numbers["accuracy, PGD"] <= numbers["accuracy, FGSM"] <= numbers["accuracy, random signs"]
    assert numbers["targeted success"] > 0.9
    assert numbers["success of NES"] >= 0.9
    assert 50 < numbers["median queries of NES"] <= 2000
    assert np.abs(shown["PGD"] - shown["digits"]).max() == pytest.approx(0.3, abs=1e-5)
    small, _ = study.attack_network(0, 0.02, 600, 40, 200)
    assert small["accuracy, PGD"] > numbers["accuracy, PGD"]
    assert small["accuracy, PGD, largest ball"] == 0


@pytest.mark.parametrize(
    "change",
    [
        {"accuracy, PGD": 0.2},
        {"targeted success": 0.8},
        {"success of NES": 0.5},
        {"accuracy, random signs": GOOD["accuracy, NES"], "accuracy, NES": GOOD["accuracy, random signs"]},
        {"least certainty on noise": 0.9},
    ],
)
def test_the_verdict_turns(change):
    good = study.report([GOOD, GOOD], SHOWN, 0.3)
    assert good.holds
    assert "are not masked" in good.verdict
    assert good.headline.values == [0.01, 0.01]
    assert not study.report([GOOD, GOOD | change], SHOWN, 0.3).holds
    assert "ARE masked" in study.report([GOOD | {"only NES succeeds": 0.2}], SHOWN, 0.3).verdict
