"""Units read by hand, one update by hand, and each image climbs for its own unit."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.source import Source
from dlcore.interpretability import unit_images
from dlcore.interpretability.class_image import ImageRegularization
from dlcore.interpretability.image_optimization import ImageState
from dlcore.interpretability.unit_images import Unit, check_units, parse_unit, unit_activation
from dlcore.models.vgg import VGG
from dlcore.run import evaluate

MEAN, STD = np.float32([0.5, 0.4, 0.3]), np.float32([0.2, 0.2, 0.25])


class Linear(nn.Module):
    """Two maps of the pixels: their channels times a matrix, and the same at half the size."""

    @nn.compact
    def features(self, x):
        a = x @ self.param("a", nn.initializers.ones, (3, 4))
        return {"a": a, "b": a[:, ::2, ::2] @ self.param("b", nn.initializers.ones, (4, 2))}


def network(rng):
    shapes = {"a": (3, 4), "b": (4, 2)}
    return {"params": {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}}


@pytest.mark.covers("VI-11")
@pytest.mark.parametrize(
    ("text", "unit"),
    [("relu3_2:17", Unit("relu3_2", 17)), ("b:0@4:12", Unit("b", 0, (4, 12))), (" a:3 ", Unit("a", 3))],
)
def test_units_are_read_from_text(text, unit):
    assert parse_unit(text) == unit


@pytest.mark.parametrize("text", ["relu3_2", "relu3_2:", "a:-1", "a:1@4", "a:1@4,5", ":3", "a:b:1"])
def test_other_text_is_refused(text):
    with pytest.raises(ValueError, match=r"units=.*: no unit; allowed: LAYER:CHANNEL or LAYER:CHANNEL@ROW:COLUMN"):
        parse_unit(text, "units")


def test_units_that_a_network_lacks_are_refused():
    shapes = {"a": (1, 4, 6, 4), "b": (1, 2, 3, 2)}
    check_units((Unit("a", 3, (3, 5)), Unit("a", 0, (0, 0)), Unit("b", 1)), shapes, "units")
    with pytest.raises(ValueError, match="units='c': no such layer; allowed: a, b"):
        check_units((Unit("c", 0),), shapes, "units")


@pytest.mark.covers("VI-11")
def test_activations_by_hand():
    maps = {"a": np.zeros((2, 2, 2, 3)), "b": np.arange(24.0).reshape(2, 2, 2, 3)}
    np.testing.assert_array_equal(unit_activation(maps, Unit("b", 1)), [(1 + 4 + 7 + 10) / 4, (13 + 16 + 19 + 22) / 4])
    np.testing.assert_array_equal(unit_activation(maps, Unit("b", 2, (0, 1))), [5, 17])


@pytest.mark.covers("VI-11")
def test_one_update_by_hand():
    """The mean of a channel, and a unit at one position of the next map, less 0.5 norms of the standardized image."""
    rate, rng = 0.05, np.random.default_rng(0)
    variables = network(rng)
    a, b = (np.float64(variables["params"][name]) for name in "ab")
    learner = unit_images.learner(
        model=Linear(), variables=variables, optimizer=optax.sgd(rate), mean=MEAN, std=STD, side=8, l2=0.5,
        regularization=ImageRegularization(jitter=0, blur_sigma=0), units=(Unit("a", 2), Unit("b", 1, (3, 1))),
    )  # fmt: skip
    images = (MEAN + 0.1 * rng.normal(size=(2, 8, 8, 3))).astype(np.float32)
    batch = {"unit": np.array([1, 0]), "index": np.array([4, 9])}
    state = ImageState(np.int32(0), jax.random.key(3), images, optax.sgd(rate).init(images), variables, batch["unit"],
                       batch["index"], np.int32(0))  # fmt: skip
    after, metrics = jax.jit(learner.update)(state, batch)
    x = (np.float64(images) - MEAN) / STD
    weights = np.zeros((2, 8, 8, 3))
    weights[0, 6, 2] = a @ b[:, 1]  # unit 1 of the batch: row 3 and column 1 of the map of half the size
    weights[1] = a[:, 2] / 64
    gradient = 0.5 * 2 * x / 64 - weights
    np.testing.assert_allclose(after.params, np.clip(images - rate * gradient / STD, 0, 1), atol=1e-6)
    value = 0.5 * np.square(x).sum(-1).mean() * 2 - (x * weights).sum()
    assert metrics["loss"].compute() == pytest.approx(value / 2, rel=1e-4)


def test_it_starts_from_noise_around_the_mean():
    variables = network(np.random.default_rng(0))
    learner = unit_images.learner(
        model=Linear(), variables=variables, optimizer=optax.sgd(0.1), mean=MEAN, std=STD, units=(Unit("a", 0),) * 4,
        noise=0.05,
    )  # fmt: skip
    batch = {"unit": np.arange(4, dtype=np.int32), "index": np.arange(4, dtype=np.int32)}
    first = np.asarray(jax.jit(learner.init)(jax.random.key(0), batch).params)
    np.testing.assert_allclose(first.mean((0, 1, 2)), MEAN, atol=5e-3)
    np.testing.assert_allclose(first.std((0, 1, 2)), 0.05, rtol=0.05)
    assert np.abs(first[0] - first[1]).max() > 0.1


@pytest.mark.weekly
@pytest.mark.covers("VI-11")
def test_each_image_climbs_for_its_own_unit():
    """Of four units of two layers, each is most active by its own image."""
    model, rng = VGG(num_classes=4, stages=(1, 1), width=8), np.random.default_rng(0)
    variables = jax.jit(model.init)(jax.random.key(8), jnp.zeros((1, 16, 16, 3)))
    variables = jax.tree.map(lambda p: p + 0.2 * rng.normal(size=p.shape).astype(np.float32), variables)
    units = (Unit("relu1_1", 0), Unit("relu1_1", 3), Unit("relu2_1", 1), Unit("relu2_1", 5, (4, 4)))
    learner = unit_images.learner(
        model=model, variables=variables, optimizer=optax.adam(0.05), mean=MEAN, std=STD, side=16, l2=0.0, units=units
    )
    source = Source({"unit": np.arange(4, dtype=np.int32)})
    state, update = jax.jit(learner.init)(jax.random.key(0), source[np.arange(4)]), jax.jit(learner.update)
    before = evaluate(learner, state, source)["activation"]
    for _ in range(60):
        state, _ = update(state, source[np.arange(4)])
    assert evaluate(learner, state, source)["activation"] > 2 * before
    maps = model.apply(variables, (state.params - MEAN) / STD, method="features")
    activations = np.stack([unit_activation(maps, unit) for unit in units])  # [units, images]
    np.testing.assert_array_equal(activations.argmax(1), np.arange(4))
