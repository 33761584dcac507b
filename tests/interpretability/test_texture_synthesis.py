"""The Gram loss by hand, an image of another size than its sample, tiles, and what is refused."""

from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.data.source import Source
from dlcore.evaluators import texture_measures
from dlcore.experiment.resolve import resolve
from dlcore.interpretability import texture_synthesis
from dlcore.interpretability.image_optimization import ImageState
from dlcore.interpretability.style_transfer import noise_image
from dlcore.interpretability.texture_synthesis import repetition, texture_loss, tile_sample
from dlcore.models.vgg import VGG
from dlcore.run import evaluate
from experiments.interpretability import texture_synthesis as page
from tests.interpretability.linear import Linear

MEAN, STD = np.float32([0.4, 0.5, 0.6]), np.float32([0.2, 0.25, 0.5])


def weights(rng):
    return {"params": {name: rng.normal(size=(3, c)).astype(np.float32) for name, c in (("a", 2), ("b", 3))}}


def make(network, **settings):
    settings = {"optimizer": optax.sgd(0.1), "size": (5, 6), "style_layers": ("a", "b")} | settings
    return texture_synthesis.learner(model=Linear(), variables=network, mean=MEAN, std=STD, **settings)


def flat(image, weight):
    return ((np.float64(image) - MEAN) / STD).reshape(-1, 3) @ weight


def gram(image, weight):
    maps = flat(image, weight)
    return maps.T @ maps / len(maps)


@pytest.mark.covers("VI-16")
def test_one_update_by_hand():
    """3 the mean Gram loss of two maps, of an image of 30 pixels and a sample of 6, and no other term."""
    rng = np.random.default_rng(0)
    network, image = weights(rng), rng.uniform(size=(1, 5, 6, 3)).astype(np.float32)
    sample = rng.uniform(size=(1, 3, 2, 3)).astype(np.float32)
    learner = make(network, style_weight=3.0)
    batch = {"sample": sample, "index": np.array([4])}
    blank = ImageState(np.int32(0), jax.random.key(0), image, optax.sgd(0.1).init(image), network, None,
                       batch["index"], np.int32(0))  # fmt: skip

    @jax.jit
    def step(batch):
        first = learner.init(jax.random.key(0), batch)
        loss = texture_loss(Linear(), MEAN, STD, ("a", "b"))(network, image[0], sample[0])
        return first.params, learner.update(blank.replace(targets=first.targets), batch), loss

    first, (after, metrics), loss = step(batch)
    chex.assert_shape(first, (1, 5, 6, 3))
    assert np.mean(first) == pytest.approx(0.5, abs=0.05)
    assert 0.05 < np.std(first) < 0.15
    slope, value = 0, 0
    for weight in network["params"].values():
        own, channels = flat(image[0], weight), weight.shape[1]
        difference = gram(image[0], weight) - gram(sample[0], weight)
        value += np.square(difference).sum() / (4 * channels**2) / 2
        slope += 3 / 2 * (own @ difference / (len(own) * channels**2)) @ weight.T / STD
    np.testing.assert_allclose(after.params[0], image[0] - 0.1 * slope.reshape(5, 6, 3), rtol=1e-4, atol=1e-5)
    assert metrics["loss"].compute() == pytest.approx(3 * value, rel=1e-4)
    assert float(loss) == pytest.approx(value, rel=1e-4)


@pytest.mark.covers("VI-16")
def test_the_terms_and_the_variation():
    rng = np.random.default_rng(1)
    network, source = weights(rng), Source({"sample": rng.integers(0, 255, (1, 4, 4, 3)).astype(np.uint8)})
    learner = make(network, style_weight=2.0, variation_weight=0.5, style_layers=("b",))
    state = jax.jit(learner.init)(jax.random.key(0), source[np.arange(1)])
    metrics, image = evaluate(learner, state, source), np.float64(state.params[0])
    weight = network["params"]["b"]
    expected = np.square(gram(image, weight) - gram(source.arrays["sample"][0] / 255, weight)).sum() / (4 * 9)
    steps = sum(np.square(np.diff(image, axis=axis)).mean() for axis in (0, 1))
    assert metrics["gram_loss"] == pytest.approx(expected, rel=1e-4)
    assert metrics["variation"] == pytest.approx(steps, rel=1e-4)
    assert metrics["loss"] == pytest.approx(2 * expected + 0.5 * steps, rel=1e-4)


def test_tiles_by_hand():
    sample = np.arange(4).reshape(2, 2, 1)
    np.testing.assert_array_equal(
        tile_sample(sample, (3, 5))[..., 0], [[0, 1, 0, 1, 0], [2, 3, 2, 3, 2], [0, 1, 0, 1, 0]]
    )
    assert repetition(tile_sample(sample, (4, 4)), (2, 2)) == pytest.approx(1)
    noise = np.random.default_rng(0).normal(size=(40, 40, 3))
    assert abs(repetition(noise, (20, 20))) < 0.1
    down = np.concatenate([noise[:20], noise[:20]])  # the same again below, and nothing across
    assert repetition(down, (20, 20)) == pytest.approx(1)
    assert repetition(down, (40, 20)) < 0.1
    with pytest.raises(ValueError, match=r"period=\(40, 40\): no smaller than the image; allowed: below \(40, 40\)"):
        repetition(noise, (40, 40))


def test_bad_input_is_named():
    network = weights(np.random.default_rng(0))
    with pytest.raises(ValueError, match="style_layers='c': no such layer; allowed: a, b"):
        make(network, style_layers=("c",))
    with pytest.raises(ValueError, match="size=0: too small; allowed: at least 1"):
        make(network, size=(0, 4))
    make(network, size=(1, 1))


@pytest.mark.covers("VI-16")
@pytest.mark.parametrize(
    ("words", "size"),
    [
        (["--scale=3"], [48, 48]),
        (["--size=20,40"], [20, 40]),
        pytest.param(["--image=china"], [32, 48], marks=pytest.mark.slow),
    ],
)
def test_the_size_is_that_of_the_flags(words, size):
    splits = page.experiment.run(resolve(page.experiment, ["--smoke", *words])).load()
    assert splits.spec["size"] == size
    assert splits.train.arrays["sample"].shape[1] == 16


@pytest.mark.covers("VI-16")
def test_the_other_images_of_the_ledger(monkeypatch):
    """Of maps that see one pixel each, whole tiles have the sample's Gram matrices; noise has others."""
    rng = np.random.default_rng(2)
    network = SimpleNamespace(model=Linear(), variables=weights(rng), mean=MEAN, std=STD)
    monkeypatch.setattr(texture_measures, "load_network", lambda source: network)
    flags = resolve(page.experiment, ["--smoke", "--style_layers=a,b"])
    splits = page.experiment.run(flags).load()
    assert page.experiment.run(flags, splits.spec).evaluators(splits, "valid") == []
    (evaluator,) = page.experiment.run(flags, splits.spec).evaluators(splits, "test")
    sample = splits.test.arrays["sample"]
    outputs = {"image": tile_sample(sample[0], (32, 32))[None] / np.float32(255)}
    numbers = evaluator.finish(evaluator.add(None, outputs, {"sample": sample}))
    assert set(numbers) == set(evaluator.names)
    assert numbers["repetition"] == pytest.approx(1)
    assert numbers["gram_loss_tiled"] < 1e-9
    noise = np.asarray(noise_image(jax.random.key(0), (32, 32, 3)))
    terms = [
        np.square(gram(noise, w) - gram(sample[0] / 255, w)).sum() / (4 * w.shape[1] ** 2)
        for w in network.variables["params"].values()
    ]
    assert numbers["gram_loss_noise"] == pytest.approx(np.mean(terms), rel=1e-4)
    same = page.experiment.run(flags, {**splits.spec, "size": [16, 16]}).evaluators(splits, "test")[0]
    assert "repetition" not in same.finish((sample[0] / np.float32(255), sample[0])), "an image of the sample's size"


@pytest.mark.weekly
@pytest.mark.covers("VI-16")
def test_noise_gets_the_gram_matrices_of_a_smaller_sample():
    model = VGG(stages=(1, 1), width=8)
    variables = jax.jit(model.init)(jax.random.key(3), jnp.zeros((1, 16, 16, 3)))
    sample = np.tile(np.random.default_rng(0).uniform(size=(1, 2, 3, 3)), (1, 6, 4, 1)).astype(np.float32)
    learner = texture_synthesis.learner(
        model=model, variables=variables, optimizer=optax.lbfgs(), mean=np.zeros(3), std=np.ones(3), size=(24, 30),
        style_layers=("relu1_1", "relu2_1"),
    )  # fmt: skip
    source = Source({"sample": sample})
    state, update = jax.jit(learner.init)(jax.random.key(0), source[np.arange(1)]), jax.jit(learner.update)
    before = evaluate(learner, state, source)["gram_loss"]
    for _ in range(60):
        state, _ = update(state, source[np.arange(1)])
    assert evaluate(learner, state, source)["gram_loss"] < before / 100
