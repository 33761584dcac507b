"""Shallow layers keep the pixels, deep ones do not."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.data.source import Source
from dlcore.interpretability import feature_inversion
from dlcore.interpretability.image_optimization import ImageState
from dlcore.models.vgg import VGG
from dlcore.run import evaluate
from tests.interpretability.linear import Linear

MODEL = VGG(stages=(1, 1, 1), width=8)
MEAN, STD = np.zeros(3, np.float32), np.ones(3, np.float32)


@pytest.fixture(scope="module")
def variables():
    return jax.jit(MODEL.init)(jax.random.key(3), jnp.zeros((1, 16, 16, 3)))


def source():
    rng = np.random.default_rng(0)
    return Source({"image": np.kron(rng.uniform(size=(1, 8, 8, 3)), np.ones((1, 2, 2, 1))).astype(np.float32)})


def inverted(variables, layer, steps=40, **settings):
    learner = feature_inversion.learner(
        model=MODEL, variables=variables, mean=MEAN, std=STD, optimizer=optax.lbfgs(), layer=layer, **settings
    )
    batch = source()[np.arange(1)]
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    before = evaluate(learner, state, source())
    update = jax.jit(learner.update)
    for _ in range(steps):
        state, _ = update(state, batch)
    return before, evaluate(learner, state, source())


@pytest.mark.weekly
@pytest.mark.covers("VI-13")
def test_a_shallower_layer_keeps_more_of_the_pixels(variables):
    errors = []
    for layer in ("relu1_1", "relu2_1", "relu3_1"):
        before, after = inverted(variables, layer, variation_weight=0.001)
        assert after["features"] < 0.02 * before["features"]
        errors.append(after["pixels"])
    assert errors[0] < errors[1] < errors[2]
    assert errors[0] < 0.2 * errors[2]


@pytest.mark.weekly
@pytest.mark.covers("VI-13")
def test_the_prior_smooths(variables):
    rough, smooth = (inverted(variables, "relu2_1", 20, variation_weight=w)[1] for w in (0.0, 10.0))
    assert smooth["variation"] < 0.5 * rough["variation"]


@pytest.mark.slow
@pytest.mark.covers("VI-13")
def test_features_start_relative_to_the_target():
    """The loss of a black image whose features are 0 is 1: ||0 - phi_0||^2 / ||phi_0||^2."""
    network = {"params": {"a": np.array([[1.0, 2], [3, -1], [0, 2]], np.float32)}}
    learner = feature_inversion.learner(
        model=Linear((2,)), variables=network, mean=MEAN, std=STD, optimizer=optax.sgd(0.0), layer="a",
        variation_weight=0.0,
    )  # fmt: skip
    state = jax.jit(learner.init)(jax.random.key(0), source()[np.arange(1)])
    # The image itself starts from noise of deviation 0.1 around gray: of 768 numbers.
    assert (np.mean(state.params), np.std(state.params)) == (pytest.approx(0.5, abs=0.02), pytest.approx(0.1, abs=0.01))
    numbers = evaluate(learner, state.replace(params=jnp.zeros_like(state.params)), source())
    assert numbers["features"] == pytest.approx(1.0)
    assert numbers["pixels"] == pytest.approx(float(np.square(source().arrays["image"]).mean()), rel=1e-5)


@pytest.mark.covers("VI-13")
def test_one_update_by_hand():
    """|phi - phi_0|^2 / |phi_0|^2 + 0.5 TV; the distance from the image itself is measured, and not descended."""
    rate, rng = 0.1, np.random.default_rng(0)
    mean, std = np.float32([0.4, 0.5, 0.6]), np.float32([0.2, 0.25, 0.5])
    network = {"params": {"a": rng.normal(size=(3, 2)).astype(np.float32)}}
    learner = feature_inversion.learner(
        model=Linear((2,)), variables=network, optimizer=optax.sgd(rate), mean=mean, std=std, layer="a",
        variation_weight=0.5,
    )  # fmt: skip
    x, image = rng.uniform(size=(2, 1, 2, 1, 3)).astype(np.float32)
    batch, target = {"image": image, "index": np.arange(1)}, ((image - mean) / std) @ network["params"]["a"]
    state = ImageState(np.int32(0), jax.random.key(0), x, optax.sgd(rate).init(x), network,
                       {"features": target, "image": image}, batch["index"], np.int32(0))  # fmt: skip
    after, metrics = jax.jit(learner.update)(state, batch)
    error, size = ((x - mean) / std) @ network["params"]["a"] - target, np.square(target).sum()
    # Two pixels one below the other: TV is the mean of 3 squares, of slope 2 d / 3.
    step = x[0, 1] - x[0, 0]
    slope = 2 * error @ network["params"]["a"].T / std / size + 0.5 * 2 / 3 * np.stack([-step, step])[None]
    np.testing.assert_allclose(after.params, x - rate * slope, rtol=1e-4, atol=1e-5)
    value = np.square(error).sum() / size + 0.5 * np.square(step).mean()
    assert metrics["loss"].compute() == pytest.approx(value, rel=1e-4)
