"""The score rises, the prior keeps the norm down, and the blur is a blur."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from scipy import ndimage

from dlcore.data.source import Source
from dlcore.experiment.resolve import resolve
from dlcore.interpretability import class_image
from dlcore.interpretability.class_image import ImageRegularization
from dlcore.models.vgg import VGG
from dlcore.run import evaluate
from experiments.interpretability import class_image as page

MODEL = VGG(num_classes=4, stages=(1, 1), width=8, head_init=jax.nn.initializers.normal(4.0))
MEAN, STD = np.float32([0.5, 0.4, 0.3]), np.float32([0.2, 0.2, 0.2])


@pytest.fixture(scope="module")
def variables():
    """With noise on every parameter: where all biases are 0, the mean image has no gradient."""
    variables = jax.jit(MODEL.init)(jax.random.key(8), jnp.zeros((1, 16, 16, 3)))
    rng = np.random.default_rng(0)
    noisy = jax.tree.map(lambda p: p + rng.normal(size=p.shape).astype(np.float32) * 0.2, variables["params"])
    return {**variables, "params": noisy}


def climbed(variables, steps=60, **settings):
    learner = class_image.learner(
        model=MODEL, variables=variables, mean=MEAN, std=STD, optimizer=optax.adam(0.05), side=16, **settings
    )
    source = Source({"label": np.arange(4, dtype=np.int32)})
    state = jax.jit(learner.init)(jax.random.key(0), source[np.arange(4)])
    first = state
    update = jax.jit(learner.update)
    for _ in range(steps):
        state, _ = update(state, source[np.arange(4)])
    return first, state, evaluate(learner, state, source)


@pytest.mark.slow
@pytest.mark.covers("VI-11")
def test_it_starts_from_the_mean_image_and_convinces_the_network(variables):
    first, _, numbers = climbed(variables, l2=0.0, regularization=ImageRegularization(blur_sigma=0.0))
    np.testing.assert_allclose(first.params, np.broadcast_to(MEAN, (4, 16, 16, 3)))
    assert numbers["probability"] > 0.99


@pytest.mark.weekly
@pytest.mark.covers("VI-11")
def test_the_prior_keeps_the_norm_down(variables):
    free, held = (climbed(variables, 30, l2=l2)[2]["norm"] for l2 in (0.0, 20.0))
    assert held < 0.5 * free


@pytest.mark.slow
@pytest.mark.covers("VI-11")
def test_small_pixels_are_clipped_to_the_mean(variables):
    _, state, _ = climbed(variables, 9, regularization=ImageRegularization(clip_percentile=50.0))
    at_mean = np.isclose(np.asarray(state.params), MEAN, atol=1e-6).all(-1).mean((1, 2))
    assert (np.abs(at_mean - 0.5) < 0.05).all()


@pytest.mark.slow
def test_blur_is_gaussian():
    image = jax.random.normal(jax.random.key(0), (12, 10, 3))
    wanted = ndimage.gaussian_filter(np.asarray(image), (0.7, 0.7, 0), mode="nearest", radius=(4, 4, 0))
    np.testing.assert_allclose(class_image.blur(image, 0.7), wanted, atol=1e-5)


class Linear(nn.Module):
    """Scores of three classes, linear in the pixels."""

    @nn.compact
    def __call__(self, x, train=False):
        return jnp.einsum("bhwc,hwck->bk", x, self.param("w", nn.initializers.zeros, (8, 8, 3, 3)))


@pytest.mark.covers("VI-11")
def test_one_update_by_hand():
    """Score of a class of the shifted image less 0.5 norms; every second step is blurred, its small pixels are 0."""
    rate, rng = 0.05, np.random.default_rng(0)
    network = {"params": {"w": 0.1 * rng.normal(size=(8, 8, 3, 3)).astype(np.float32)}}
    learner = class_image.learner(
        model=Linear(), variables=network, optimizer=optax.sgd(rate), mean=MEAN, std=STD, side=8, l2=0.5,
        regularization=ImageRegularization(jitter=2, blur_every=2, blur_sigma=0.7, clip_percentile=25.0),
    )  # fmt: skip
    images = (MEAN + 0.1 * rng.normal(size=(2, 8, 8, 3))).astype(np.float32)
    batch, update = {"label": np.array([2, 1]), "index": np.array([4, 9])}, jax.jit(learner.update)
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    np.testing.assert_array_equal(state.params, np.broadcast_to(MEAN, images.shape))
    state = state.replace(rng=jax.random.key(3), params=images)

    @jax.jit
    def shift(step, index):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(3), step), index)
        return jax.random.randint(key, (2,), -2, 3)

    for step in (4, 5):
        after, metrics = update(state.replace(step=np.int32(step)), batch)
        value = 0
        for i in range(2):
            x, move = (np.float64(images[i]) - MEAN) / STD, np.array(shift(step, batch["index"][i]))
            weight = np.roll(network["params"]["w"][..., batch["label"][i]], -move, (0, 1))
            value += 0.5 * np.square(x).sum(-1).mean() - (x * weight).sum()
            x -= rate / STD**2 * (0.5 * 2 * x / 64 - weight)
            if step == 4:
                x = ndimage.gaussian_filter(x, (0.7, 0.7, 0), mode="nearest", radius=(4, 4, 0))
                norm = np.linalg.norm(x, axis=-1, keepdims=True)
                x = np.where(norm < np.percentile(norm, 25), 0, x)
            np.testing.assert_allclose(after.params[i], np.clip(x * STD + MEAN, 0, 1), atol=1e-5)
        assert metrics["loss"].compute() == pytest.approx(value / 2, rel=1e-4)


@pytest.mark.parametrize(
    ("words", "labels"), [([], range(10)), (["--classes=dog,cat"], [5, 3]), (["--classes=cat", "--batch_size=1"], [3])]
)
def test_the_page_draws_the_classes_that_are_asked_for(words, labels):
    splits = page.experiment.run(resolve(page.experiment, ["--smoke", *words])).load()
    assert splits.train.arrays["label"].tolist() == list(labels)
    assert [splits.train.class_names[k] for k in labels] == splits.spec["class_names"]


def test_unknown_classes_are_refused():
    with pytest.raises(ValueError, match="classes='cow': unknown; allowed: airplane, automobile"):
        page.experiment.run(resolve(page.experiment, ["--smoke", "--classes=cow"])).load()
