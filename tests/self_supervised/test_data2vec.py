"""data2vec: an update by hand, the targets by hand, and bad input."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.self_supervised import data2vec
from dlcore.self_supervised.patch_predictors import normalize_features
from tests import patch_toys as toys
from tests.told_sgd import told_sgd


def learner(**kwargs):
    settings = {"teacher_momentum": lambda step: 0.3 * step, "top_layers": 2, "mask_ratio": 0.5, **kwargs}
    return data2vec.learner(model=toys.ToyEncoder(), optimizer=told_sgd(toys.RATE), **settings)


@pytest.mark.covers("SS-37")
def test_one_update_by_hand(monkeypatch):
    """Step 3 has m = 0.9. The teacher differs from the encoder, so that a gradient through it would show.

    In place of the draw of a mask, an image loses every fifth patch, from one on that its key tells.
    """
    drawn = []

    def draw(key, *settings):
        drawn.append(settings)
        return (jnp.arange(16) + toys.number(key)) % 5 == 0

    monkeypatch.setattr(data2vec, "random_mask", draw)
    params = {"encoder": toys.weights(1, *toys.ENCODER), "head": toys.weights(2, ("kernel", (3, 3)), ("bias", 3))}
    inputs = {"augment": toys.darken, "preprocess": toys.double}
    teacher, built = toys.weights(3, *toys.ENCODER), learner(beta=1.0, mask_ratio=0.4, cell=4, **inputs)
    state = toys.state_of(built, params, teacher)
    masked = (np.arange(16) + toys.step_numbers(state)) % 5 == 0
    assert len(np.unique(masked[:2], axis=0)) == 2
    images = 2 * toys.ROWS["image"].astype(np.float64) - 0.5
    first = toys.encode(teacher, images)
    target = (toys.standardize(first) + toys.standardize(first**2)) / 2

    def loss(params):
        prediction = toys.encode(params["encoder"], images, masked) @ params["head"]["kernel"] + params["head"]["bias"]
        errors = toys.smooth_l1(prediction - target)
        return np.mean([errors[i][masked[i]].mean() for i in range(2)])

    after, metrics = toys.check_update(built, state, loss)
    assert {*drawn} == {((4, 4), 0.4, 4)}
    np.testing.assert_allclose(metrics["target_variance"].compute(), target[:2].var(1).mean(), rtol=1e-5)
    predicted = jax.jit(built.predict)(state, toys.ROWS)
    tokens = toys.encode(teacher, 2 * toys.ROWS["image"])
    np.testing.assert_allclose(predicted["features"], tokens.mean(1), rtol=1e-5)
    chex.assert_equal_shape([*predicted.values()])
    for name, value in after.params["encoder"].items():
        np.testing.assert_allclose(after.teacher_params[name], 0.9 * teacher[name] + 0.1 * value, atol=1e-6)


@pytest.mark.covers("SS-37")
def test_targets_by_hand():
    layers = [*np.float32([[[9, 1]], [[1, 3]], [[5, -5]], [[0, 0.01]]])]
    # Normalized, a token of two features is (-1, 1) or (1, -1), whatever its scale: the last three have the mean
    # ((-1 + 1 - 1) / 3, (1 - 1 + 1) / 3). 0.01 has the deviation 0.005: 0.005 / sqrt(0.005^2 + 1e-6) = 0.9806.
    np.testing.assert_allclose(data2vec.mean_of_layers(layers, 3), [[-0.32686, 0.32686]], atol=1e-4)
    np.testing.assert_allclose(data2vec.mean_of_layers(layers[:3], 1), [[1, -1]], atol=1e-4)
    with pytest.raises(ValueError, match=r"top_layers=5: of 4 blocks; allowed: 1 to 4"):
        data2vec.mean_of_layers(layers, 5)


@pytest.mark.weekly
@pytest.mark.covers("SS-37")
@pytest.mark.parametrize("spmd", ["jit", "pmap"])
def test_eight_devices_equal_one(spmd):
    one = toys.params_after_two_steps(learner(), 1)
    chex.assert_trees_all_close(one, toys.params_after_two_steps(learner(), 8, spmd), atol=1e-6)


def test_normalized_features_far_from_0():
    x = np.random.default_rng(0).integers(0, 8, (3, 6)).astype(np.float32)
    expected = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)
    np.testing.assert_allclose(normalize_features(x + 1e4), expected, atol=1e-3)
    np.testing.assert_allclose(normalize_features(x.astype(np.uint8)), expected, atol=1e-5)
