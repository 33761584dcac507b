"""BEiT: an update by hand, the codes of the tokenizer, the loss of masked patches alone, and bad input."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.experiment.resolve import resolve
from dlcore.self_supervised import beit
from dlcore.self_supervised.patch_masks import random_mask
from experiments.self_supervised import beit as page
from tests import patch_toys as toys


class Pixels(nn.Module):
    """A tokenizer whose encodings are the pixels times a weight, averaged over squares of a side."""

    side: int = 1

    @nn.compact
    def encode(self, x):
        w = self.param("w", nn.initializers.ones, ())
        return w * nn.avg_pool(x, (self.side, self.side), (self.side, self.side))

    def __call__(self, x):
        return self.encode(x)


FROZEN = {"autoencoder": {"w": jnp.float32(2.0)}, "codebook": jnp.array([[-2.0], [0.0], [2.0]])}


def learner(**kwargs):
    arguments = {"model": toys.ToyEncoder(), "tokenizer": Pixels(), "num_codes": 3, "optimizer": optax.sgd(toys.RATE)}
    return beit.learner(**{**arguments, **kwargs})


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@pytest.mark.covers("SS-36")
def test_the_codes_are_those_of_the_nearest_vectors():
    images = jnp.array([[-0.9, -0.4], [0.4, 0.9]]).reshape(1, 2, 2, 1)
    # Encodings -1.8, -0.8, 0.8, 1.8: nearest to -2, 0, 0 and 2.
    codes = beit.patch_codes(Pixels(), FROZEN, images, (2, 2))
    np.testing.assert_array_equal(codes, [[0, 1, 1, 2]])
    with pytest.raises(ValueError, match=r"tokenizer: gives 2x2 codes; allowed: one for each of the 1x1 patches"):
        beit.patch_codes(Pixels(), FROZEN, images, (1, 1))


@pytest.mark.slow
@pytest.mark.covers("SS-36")
def test_one_update_by_hand():
    """Of 4x4 patches of one pixel, 2 of the 4 cells are masked; the tokenizer stands still."""
    params = {"encoder": toys.weights(1, *toys.ENCODER), "head": toys.weights(2, ("kernel", (3, 3)), ("bias", 3))}
    built = learner(mask_ratio=0.5, augment=toys.darken, preprocess=toys.double)
    state = toys.state_of(built, params, FROZEN)
    draw = jax.vmap(lambda key: random_mask(key, (4, 4), 0.5, 2))
    masked = jax.device_get(jax.jit(draw)(toys.step_keys(state)))
    images = 2 * toys.ROWS["image"].astype(np.float64) - 0.5
    encodings = 2 * (2 * images - 1)  # the pixels in [-1, 1] times 2
    codes = np.abs(encodings - np.array([-2.0, 0.0, 2.0])).argmin(-1).reshape(3, 16)

    def loss(params):
        logits = toys.encode(params["encoder"], images, masked) @ params["head"]["kernel"] + params["head"]["bias"]
        nats = -np.take_along_axis(log_softmax(logits), codes[..., None], -1)[..., 0]
        return np.mean([nats[i][masked[i]].mean() for i in range(2)])

    after, _ = toys.check_update(built, state, loss)
    chex.assert_trees_all_equal(after.teacher_params, FROZEN)


def test_the_measures_of_an_evaluation():
    """By the mask token alone, every hidden patch gets code 1 with the probability e^2 / (2 + e^2)."""
    built = learner(mask_ratio=0.5, preprocess=toys.double)
    head = {"kernel": np.float32([[0, 2, 0], [0, 0, 0], [0, 0, 0]]), "bias": np.zeros(3, np.float32)}
    encoder = {"w": np.zeros(3, np.float32), "b": np.zeros(3, np.float32), "mask_token": np.float32([1, 0, 0])}
    state = toys.state_of(built, {"encoder": encoder, "head": head}, FROZEN)
    # Doubled pixels 0.5 and 0.9 are 0 and 0.8 in [-1, 1], encodings 0 and 1.6: codes 1 and 2.
    images = np.stack([np.full((4, 4, 1), value / 2, np.float32) for value in (0.5, 0.9, 0.9)])
    metrics = jax.jit(built.evaluate)(state, {**toys.ROWS, "image": images})
    values = {name: metric.compute() for name, metric in metrics.items()}
    log_total = np.log(2 + np.exp(2))
    assert values["loss"] == pytest.approx(((log_total - 2) + log_total) / 2, rel=1e-5)
    assert values["accuracy"] == 0.5
    # Two codes as often, of three: padding does not count.
    assert values["perplexity"] == pytest.approx(2)
    assert values["usage"] == pytest.approx(2 / 3)


def test_the_first_codebook_and_bad_input():
    state = jax.jit(learner().init)(jax.random.key(0), toys.ROWS)
    chex.assert_shape(state.teacher_params["codebook"], (3, 1))
    chex.assert_shape(state.params["head"]["kernel"], (3, 3))
    with pytest.raises(ValueError, match=r"mask_ratio=1\.5: .*allowed: "):
        learner(mask_ratio=1.5)
    with pytest.raises(ValueError, match=r"tokenizer: gives 2x2 codes; allowed: one for each of the 4x4 patches"):
        jax.eval_shape(learner(tokenizer=Pixels(2)).update, state, toys.ROWS)


def test_the_page_gives_the_tokenizer_the_pixels():
    flags = resolve(page.experiment, ["--smoke"])
    spec = {"image_shape": [8, 8, 1], "mean": [0.3], "std": [0.4], "dataset": "digits", "num_classes": 10}
    arguments = page.experiment.run(flags, spec, 4, jnp.float32).arguments()
    pixels = jnp.broadcast_to(jnp.array([0.25, 1.0])[:, None, None, None], (2, 8, 8, 1))
    inputs = arguments["preprocess"](pixels)
    chex.assert_shape(inputs, (2, 16, 16, 1))
    # 2 * 0.25 - 1 and 2 * 1 - 1, at the tokenizer's own size.
    x = arguments["to_tokenizer"](inputs)
    chex.assert_shape(x, (2, 8, 8, 1))
    np.testing.assert_allclose(x[:, 3, 3, 0], [-0.5, 1.0], atol=1e-5)
    # One code of the 4x4 for each patch of 4 pixels of the 16.
    assert arguments["tokenizer"].grid == arguments["model"].grid(inputs) == (4, 4)


@pytest.mark.weekly
@pytest.mark.parametrize("spmd", ["jit", "pmap"])
def test_eight_devices_equal_one(spmd):
    one = toys.params_after_two_steps(learner(), 1)
    chex.assert_trees_all_close(one, toys.params_after_two_steps(learner(), 8, spmd), atol=1e-6)
