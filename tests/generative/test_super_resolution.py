"""Baselines as Pillow computes them, the start at the bicubic image, sharpness by hand, and better than bicubic."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from PIL import Image

from dlcore.data.small_photographs import downscale
from dlcore.generative import super_resolution
from dlcore.generative.image_to_image import PatchDiscriminator
from dlcore.generative.super_resolution import SRResNet, enlarge, sharpness
from tests.generative.by_rule import check_filled, filled


@pytest.mark.covers("GE-21")
@pytest.mark.parametrize("method", ["bicubic", "bilinear", "nearest"])
def test_enlargements_are_pillows(method):
    low = np.random.default_rng(0).integers(60, 200, (1, 5, 6, 3)).astype(np.uint8)
    want = Image.fromarray(low[0]).resize((24, 20), Image.Resampling[method.upper()])
    got = enlarge(jnp.asarray(low / 255.0, jnp.float32), 4, method)[0]
    np.testing.assert_allclose(255 * got, np.asarray(want, np.float32), atol=1.1)


def test_sharpness_is_the_mean_step_to_the_neighbors():
    # Steps to the right: 1 and 3; down: 2 and 4 (columns 0 and 1).
    image = np.array([[0.0, 1], [2, 5]]).reshape(1, 2, 2, 1)
    assert sharpness(image)[0] == pytest.approx((2 + 3) / 2)


def learner(adversarial_weight=0.0, rate=3e-3):
    return super_resolution.learner(
        generator=SRResNet(width=8, num_blocks=1),
        discriminator=PatchDiscriminator(width=4, depth=1),
        generator_optimizer=optax.adam(rate),
        discriminator_optimizer=optax.adam(rate),
        adversarial_weight=adversarial_weight,
    )


def stripes(n, seed):
    """Sharp stripes of random slope and phase, which bicubic enlargement blurs."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:16, :16]
    angle, phase = rng.uniform(0, np.pi, (n, 1, 1)), rng.uniform(0, 6, (n, 1, 1))
    wave = np.cos(angle) * x + np.sin(angle) * y + phase
    image = np.repeat((200 * ((wave % 6) < 3) + 20).astype(np.uint8)[..., None], 3, -1)
    return {"image": image, "low": downscale(image, 2), "index": np.arange(n, dtype=np.int32)}


@pytest.mark.weekly
@pytest.mark.covers("GE-21")
def test_it_starts_near_bicubic_and_learns_to_beat_it():
    made, train, test = learner(), stripes(128, 0), stripes(32, 1)
    state = jax.jit(made.init)(jax.random.key(0), train)
    evaluate = jax.jit(made.evaluate)
    first = {name: metric.compute() for name, metric in evaluate(state, test).items()}
    assert first["psnr"] == pytest.approx(first["psnr_bicubic"], abs=0.3)
    assert first["psnr_bicubic"] > first["psnr_nearest"]
    data = {name: jnp.asarray(x) for name, x in train.items()}

    def step(state, k):
        rows = {name: jax.lax.dynamic_slice_in_dim(x, k % 8 * 16, 16) for name, x in data.items()}
        return made.update(state, rows)[0], None

    state = jax.jit(lambda s: jax.lax.scan(step, s, jnp.arange(150))[0])(state)
    last = {name: metric.compute() for name, metric in evaluate(state, test).items()}
    assert last["psnr"] > last["psnr_bicubic"] + 1, last
    assert last["sharpness"] > last["sharpness_bicubic"]
    assert last["psnr_bicubic"] == pytest.approx(first["psnr_bicubic"])


@pytest.mark.slow
def test_the_adversary_joins_the_game():
    made, rows = learner(0.1), stripes(4, 0)
    state = jax.eval_shape(made.init, jax.random.key(0), rows)
    assert set(state.params) == {"generator", "discriminator"}
    _, metrics = jax.eval_shape(made.update, state, rows)
    assert {"d_loss", "g_loss", "content_loss", "loss"} == set(metrics)
    assert made.loss is None


class Twice(nn.Module):
    """Each pixel's value times w, at 2 x 2 pixels."""

    factor: int = 2

    @nn.compact
    def __call__(self, x, train=False):
        return self.param("w", nn.initializers.ones, ()) * x.repeat(2, 1).repeat(2, 2)


class Score(nn.Module):
    """logit = u y of each pixel."""

    @nn.compact
    def __call__(self, y, train=False):
        return self.param("u", nn.initializers.ones, ()) * y[..., 0]


@pytest.mark.covers("GE-21")
def test_one_update_by_hand():
    """D: mean softplus(-u y) + softplus(u w x); then G: mean |w x - y| + .4 mean softplus(-u' w x), D's new u'."""
    made = super_resolution.learner(
        generator=Twice(),
        discriminator=Score(),
        generator_optimizer=optax.sgd(0.1),
        discriminator_optimizer=optax.sgd(0.3),
        adversarial_weight=0.4,
    )
    rng = np.random.default_rng(2)
    low, image = rng.random((3, 1, 1, 1), np.float32), rng.random((3, 2, 2, 1), np.float32)
    rows = {"low": low, "image": image, "index": np.arange(3, dtype=np.int32)}
    params = {"generator": {"w": np.float32(0.8)}, "discriminator": {"u": np.float32(0.6)}}
    shapes = jax.eval_shape(made.init, jax.random.key(0), rows).replace(rng=None)
    state = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes).replace(rng=jax.random.key(0), params=params)
    wide = {"low": rng.random((3, 2, 3, 1), np.float32), "image": rng.random((3, 4, 6, 1), np.float32)}
    wide["low"][2] = wide["image"][2] = 0.5  # the last image is enlarged without an error

    @jax.jit
    def run(state):
        given = made.evaluate(state, {**wide, "index": np.arange(3)}), made.predict(state, wide)["sample"]
        baselines = {name: enlarge(wide["low"], 2, name) for name in ("bicubic", "bilinear", "nearest")}
        images = *given, baselines, wide["image"]
        return *made.update(state, rows), *images, [sharpness(image) for image in (given[1], images[-1])]

    after, _, metrics, shown, baselines, truth, (own, true) = jax.device_get(run(state))
    # .8 (2 x - 1) in [-1, 1] at 2 x 2 pixels.
    np.testing.assert_allclose(shown, (0.8 * (2 * wide["low"] - 1) + 1).repeat(2, 1).repeat(2, 2) / 2, rtol=1e-5)
    for name, y in {"psnr": shown, **{f"psnr_{key}": np.clip(v, 0, 1) for key, v in baselines.items()}}.items():
        psnr = np.append(-10 * np.log10(np.square(y - truth).mean((1, 2, 3))[:2]), 100)
        assert metrics[name].compute() == pytest.approx(psnr.mean(), rel=1e-4), name
    assert metrics["sharpness"].compute() == pytest.approx((own[:2] / true[:2]).sum() / 3, rel=1e-4)
    x, y = np.broadcast_to(2 * low - 1, image.shape), 2 * image - 1

    def sigmoid(s):
        return 1 / (1 + np.exp(-s))

    fake = 0.8 * x
    u = 0.6 - 0.3 * (-sigmoid(-0.6 * y) * y + sigmoid(0.6 * fake) * fake).mean()
    assert float(after.params["discriminator"]["u"]) == pytest.approx(u, rel=1e-5)
    slope = (np.sign(fake - y) * x).mean() + 0.4 * (-sigmoid(-u * fake) * u * x).mean()
    assert float(after.params["generator"]["w"]) == pytest.approx(0.8 - 0.1 * slope, rel=1e-5)


def test_other_factors_are_named():
    with pytest.raises(ValueError, match="factor=3: not available; allowed: 2, 4"):
        jax.eval_shape(SRResNet(factor=3).init, jax.random.key(0), jnp.zeros((1, 4, 4, 3)))


@pytest.mark.covers("GE-21")
def test_four_channels_become_two_by_two_pixels():
    """All weights are 0 but the bias 1, 2, 3, 4 of the enlarging layer and the head's middle tap: a 2 x 2 pattern."""
    network, x = SRResNet(width=1, num_blocks=0), np.zeros((1, 2, 3, 1), np.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), x)
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    variables["params"]["up0"]["bias"][:] = [1, 2, 3, 4]
    variables["params"]["head"]["kernel"][1, 1] = 1
    out = np.asarray(jax.jit(network.apply)(variables, x))[0, :, :, 0]
    np.testing.assert_allclose(out, np.tile([[1, 2], [3, 4]], (2, 3)), rtol=1e-6)
    # A factor of 4 is two such steps, each from `width` channels to four times as many.
    wide = jax.eval_shape(SRResNet(factor=4, width=2, num_blocks=0).init, jax.random.key(0), x)["params"]
    assert [wide[name]["kernel"].shape for name in ("up0", "up1", "head")] == [(3, 3, 2, 8), (3, 3, 2, 8), (3, 3, 2, 1)]


@pytest.mark.slow(only=["4-shape1-489-numbers1"])
@pytest.mark.covers("GE-21")
@pytest.mark.parametrize(
    ("factor", "shape", "count", "numbers"),
    [
        (2, (2, 4, 4, 1), 337, [-0.315796, 2.905432, 0.418062, 2.739823]),
        (4, (1, 4, 4, 1), 489, [0.291927, 1.350205, 1.424111, -2.055323]),
    ],
)
def test_the_generator_by_the_weight_rule(factor, shape, count, numbers):
    batch, height, width, _ = shape
    found = filled(SRResNet(factor=factor, width=2, num_blocks=1), shape)
    check_filled(found, count, (batch, factor * height, factor * width, 1), numbers)
