"""The arms of the study of attacks, by what each alone does, and the verdict."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.adversarial.queries import QueryResult
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


def read_off(image):
    """A network whose class is ten times the first pixel, to the nearest whole number: scores 20 k p - k^2."""
    k = jnp.arange(10)
    return 20 * k * image[0, 0, 0] - k**2


@pytest.mark.slow
def test_each_arm_is_its_attack_on_its_network(monkeypatch):
    """Fake attacks that leave the digits below a bound right, another bound for each arm."""

    def write(image, label, right):
        return image.at[0, 0, 0].set(jnp.where(right, label, (label + 2) % 10) / 10)

    def score_fn(seed):
        def score(image):
            return read_off(image)

        score.seed = seed
        return score

    def pgd(score, key, x, y, epsilon, step_size=0.01, target=None):
        if target is not None:
            assert score.seed == 6
            return write(x, target, y < 6)
        return write(x, y, y < {(6, 0.01): 6, (6, 0.05): 4, (7, 0.01): 2}[score.seed, step_size])

    def queried(bound):
        def attack(score, key, x, y, epsilon, max_queries=7):
            assert (score.seed, max_queries) in ((6, 55), (6, 7))
            return QueryResult(write(x, y, y < bound), jnp.int32(max_queries), y >= bound)

        return attack

    monkeypatch.setattr(study, "trained", lambda seed, steps: seed)
    monkeypatch.setattr(study, "score_fn", score_fn)
    monkeypatch.setattr(study, "fgsm", lambda score, key, x, y, epsilon: write(x, y, (y < 8) & (score.seed == 6)))
    monkeypatch.setattr(study, "pgd", pgd)
    monkeypatch.setattr(study, "nes", queried(7))
    monkeypatch.setattr(study, "random_signs", queried(9))
    monkeypatch.setattr(study, "fool_from_noise", lambda score, key, shape, t: write(jnp.zeros(shape), t, True))
    digits = jnp.zeros((10, 8, 8, 1)).at[:, 0, 0, 0].set(jnp.arange(10) / 10)
    monkeypatch.setattr(study, "images", lambda split: (digits, jnp.arange(10)))
    numbers, pictures = study.attack_network(3, 1.0, 1, 10, 55)
    shares = {name.partition(", ")[2]: value for name, value in numbers.items() if name.startswith("accuracy")}
    want = {"none": 10, "FGSM": 8, "PGD": 6, "PGD, largest ball": 4, "transfer": 2, "NES": 7, "random signs": 9}
    assert shares == pytest.approx({name: n / 10 for name, n in want.items()} | {"worst attack": 0.2})
    assert numbers["targeted success"] == pytest.approx(0.6)
    assert numbers["success of NES"] == pytest.approx(0.3)
    assert numbers["median queries of NES"] == 55
    assert numbers["only NES succeeds"] == 0
    corners = {name: images[:, 0, 0, 0] for name, images in pictures.items()}
    clean, changed = np.arange(8) / 10, np.array([0, 1, 2, 3, 4, 5, 8, 9]) / 10  # from 6 on two classes further
    np.testing.assert_allclose(corners["digits"], clean)
    np.testing.assert_allclose(corners["PGD"], changed)
    np.testing.assert_allclose(corners["change, gray is 0"], 0.5 + (changed - clean) / 2)
    np.testing.assert_allclose(corners["from noise"], clean)


@pytest.mark.parametrize(("size", "name"), [(0.05, None), (0.15, "FGSM"), (0.9, "FGSM")])
def test_an_image_outside_of_its_ball_is_an_error(monkeypatch, size, name):
    """Each attack adds `size` within 0.1; the largest ball alone allows 0.9."""
    monkeypatch.setattr(study, "trained", lambda seed, steps: seed)
    monkeypatch.setattr(study, "score_fn", lambda seed: read_off)
    monkeypatch.setattr(study, "images", lambda split: (jnp.zeros((10, 8, 8, 1)), jnp.arange(10)))
    monkeypatch.setattr(study, "fgsm", lambda score, key, x, y, epsilon: x + size)
    monkeypatch.setattr(
        study, "pgd", lambda score, key, x, y, epsilon, step_size=0.01, target=None: x + (0.9 if epsilon == 1 else 0.1)
    )
    for attack in ("nes", "random_signs"):
        monkeypatch.setattr(
            study, attack, lambda score, key, x, y, epsilon, **kwargs: QueryResult(x, jnp.int32(1), jnp.array(True))
        )
    monkeypatch.setattr(study, "fool_from_noise", lambda score, key, shape, t: jnp.zeros(shape))
    if name is None:
        study.attack_network(0, 0.1, 1, 10, 1)
    else:
        with pytest.raises(AssertionError, match=f"{name}: left its ball"):
            study.attack_network(0, 0.1, 1, 10, 1)
