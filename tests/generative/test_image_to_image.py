"""Networks that keep the layout, the step of a pair by hand, sides that cannot be halved."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.generative import pix2pix
from dlcore.generative.image_to_image import PatchDiscriminator, ResidualGenerator, UNetGenerator, l1
from tests.generative.by_rule import check_filled, filled


class Scale(nn.Module):
    """y = w x."""

    @nn.compact
    def __call__(self, x, train=False):
        return self.param("w", nn.initializers.constant(0.5), ()) * x


class PairLine(nn.Module):
    """logit = u x + v y of each pixel."""

    @nn.compact
    def __call__(self, x, y, train=False):
        u, v = self.param("uv", nn.initializers.constant(0.5), (2,))
        return (u * x + v * y)[..., 0]


def learner(**settings):
    return pix2pix.learner(
        generator=Scale(),
        discriminator=PairLine(),
        generator_optimizer=optax.sgd(0.1),
        discriminator_optimizer=optax.sgd(0.1),
        loss="least_squares",
        **settings,
    )


def pair():
    x, y = np.random.default_rng(0).random((2, 4, 1, 2, 1)).astype(np.float32)
    return {"source": x, "image": y, "index": np.arange(4, dtype=np.int32)}


@pytest.mark.covers("GE-19")
def test_a_step_by_hand_in_which_the_discriminator_sees_both():
    made, rows = learner(l1_weight=2.0, adversarial_weight=0.5), pair()
    state = made.init(jax.random.key(0), rows)
    after, metrics = jax.jit(made.update)(state, rows)
    x, y = 2 * rows["source"] - 1, 2 * rows["image"] - 1
    fake = 0.5 * x
    real_logit, fake_logit = 0.5 * x + 0.5 * y, 0.5 * x + 0.5 * fake
    loss = (np.square(real_logit - 1) + np.square(fake_logit)) / 2
    assert metrics["d_loss"].compute() == pytest.approx(loss.mean(), rel=1e-5)
    slopes = [((real_logit - 1) * a + fake_logit * b).mean() for a, b in ((x, x), (y, fake))]
    uv = 0.5 - 0.1 * np.array(slopes)
    np.testing.assert_allclose(after.params["discriminator"]["uv"], uv, rtol=1e-5)
    slope = 2.0 * (np.sign(fake - y) * x).mean() + 0.5 * ((uv[0] * x + uv[1] * fake - 1) * uv[1] * x).mean()
    np.testing.assert_allclose(after.params["generator"]["w"], 0.5 - 0.1 * slope, rtol=1e-5)
    shown = np.clip((fake + 1) / 2, 0, 1)
    assert made.evaluate(state, rows)["l1"].compute() == pytest.approx(np.abs(shown - rows["image"]).mean(), rel=1e-5)


@pytest.mark.covers("GE-19")
def test_without_an_adversary_the_l1_falls_and_there_is_a_loss():
    made, rows = learner(adversarial_weight=0.0, l1_weight=1.5), pair()
    rows["image"] = 0.8 * (rows["source"] - 0.5) + 0.5

    @jax.jit
    def start(rows):
        state = made.init(jax.random.key(0), rows)
        return state, made.loss(state.params, state, rows), made.evaluate(state, rows), made.predict(state, rows)

    state, (before, metrics), measured, out = start(rows)
    assert set(state.params) == {"generator"}
    # w = .5: shown are .5 x, in [-1, 1]; l1 is of the loss there, and of pixels in [0, 1] in the measure.
    x, y = 2 * rows["source"] - 1, 2 * rows["image"] - 1
    error = np.abs(0.5 * x - y).mean()
    np.testing.assert_allclose(out["sample"], (0.5 * x + 1) / 2, rtol=1e-5)
    assert float(before) == pytest.approx(1.5 * error, rel=1e-5)
    assert metrics["loss"].compute() == pytest.approx(1.5 * error, rel=1e-5)
    assert measured["content_loss"].compute() == pytest.approx(error, rel=1e-5)
    assert measured["l1"].compute() == pytest.approx(error / 2, rel=1e-5)
    step = jax.jit(made.update)
    for _ in range(40):
        state, metrics = step(state, rows)
    assert metrics["loss"].compute() < 0.3 * before
    assert float(state.params["generator"]["w"]) == pytest.approx(0.8, abs=0.06)


def test_l1_is_of_each_image():
    np.testing.assert_allclose(l1(np.array([[1.0, -2], [0, 0]]), np.zeros((2, 2))), [1.5, 0])


def shapes(network, *inputs):
    return jax.eval_shape(lambda: network.init_with_output(jax.random.key(0), *inputs))


def test_networks_keep_sides_and_change_channels():
    x = jnp.zeros((2, 12, 8, 1))
    for network in (UNetGenerator(3, width=2, depth=2), ResidualGenerator(3, width=2, depth=2, num_blocks=1)):
        chex.assert_shape(shapes(network, x)[0], (2, 12, 8, 3))
    logits, variables = shapes(PatchDiscriminator(width=2, depth=2), x, jnp.zeros((2, 12, 8, 3)))
    chex.assert_shape(logits, (2, 3, 2))
    chex.assert_shape(variables["params"]["down0"]["kernel"], (4, 4, 4, 2))
    # A map of one pixel has no norm, which would make it 0.
    names = set(shapes(UNetGenerator(3, width=2, depth=3), jnp.zeros((2, 8, 8, 1)))[1]["params"])
    assert "down1_norm" in names
    assert "down2_norm" not in names


@pytest.mark.parametrize("network", [UNetGenerator(depth=3), ResidualGenerator(depth=3), PatchDiscriminator(depth=3)])
def test_sides_that_cannot_be_halved_so_often_are_named(network):
    for height, width in ((28, 16), (16, 28)):
        with pytest.raises(ValueError, match=rf"depth=3: an image of {height} x {width} pixels cannot be .*of 8"):
            shapes(network, jnp.zeros((1, height, width, 1)))


@pytest.mark.covers("GE-19")
def test_a_skip_carries_the_image_past_the_inner_layers():
    """Kernels of all layers but the first and the last are 0: what still reaches the output went through the skip.

    width=1, depth=2: the first map is 1 or -.2 wherever its only tap, the upper left pixel of each 2 x 2, is 1 or -1;
    the head takes the skip's channel, its second, by 0.5: tanh(.5) and tanh(-.1) in each 2 x 2."""
    network = UNetGenerator(1, width=1, depth=2, norm=False)
    x = np.where(np.arange(16).reshape(1, 4, 4, 1) // 8 == 0, 1.0, -1.0).astype(np.float32)
    variables = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, np.float32), jax.eval_shape(network.init, jax.random.key(0), x)
    )
    params = variables["params"]
    params["down0"]["kernel"][1, 1] = 1  # of 4 taps at -1, 0, 1, 2
    chex.assert_shape(params["head"]["kernel"], (3, 3, 2, 1))
    params["head"]["kernel"][1, 1, 1] = 0.5
    out = np.asarray(jax.jit(network.apply)(variables, x))[0, :, :, 0]
    want = np.tanh(np.repeat([0.5, 0.5 * -0.2], 2))[:, None] * np.ones(4)
    np.testing.assert_allclose(out, want, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("GE-19")
@pytest.mark.parametrize(
    ("network", "inputs", "count", "shape", "numbers"),
    [
        (UNetGenerator(1, width=2, depth=2), 1, 289, (2, 8, 8, 1), [-0.08919, 0.531579, -0.171969, -0.066352]),
        (
            ResidualGenerator(1, width=2, depth=1, num_blocks=1),
            *(1, 677, (2, 8, 8, 1), [-0.187857, 0.592678, 0.819637, -0.381532]),
        ),
        (PatchDiscriminator(width=2, depth=2), 2, 591, (2, 2, 2), [-0.079515, 0.562611, -0.311412, -0.561393]),
    ],
    ids=["unet", "residual", "patches"],
)
def test_networks_by_the_weight_rule(network, inputs, count, shape, numbers):
    check_filled(filled(network, *[(2, 8, 8, 1)] * inputs), count, shape, numbers)


def test_differences_of_bytes_do_not_wrap():
    a, b = np.full((1, 2, 2, 1), 3, np.uint8), np.full((1, 2, 2, 1), 5, np.uint8)
    assert l1(a, b) == l1(b, a) == 2
