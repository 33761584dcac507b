"""What is taken from an image, what the trivial answer is, and one learner that gives it back."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.learner import ModelState, example_keys
from dlcore.self_supervised import colorization, cross_channel, fill_in, inpainting, super_resolution_pretext
from dlcore.self_supervised.colorization import remove_colors, to_grayscale
from dlcore.self_supervised.cross_channel import hidden_channel, remove_channel
from dlcore.self_supervised.fill_in import Filler, fill_in_learner
from dlcore.self_supervised.inpainting import hole
from dlcore.self_supervised.super_resolution_pretext import shrink_and_enlarge
from tests.passes import PASSED, count_pass, passes
from tests.wiring import assert_wiring


class Backbone(nn.Module):
    """One patch of 2 x 2 pixels a place."""

    @nn.compact
    def features(self, x, train=False):
        return {"last": nn.relu(nn.Conv(24, (2, 2), (2, 2), name="patches")(x))}


def image(channels=3, side=8, seed=0):
    return jnp.asarray(np.random.default_rng(seed).random((side, side, channels)), jnp.float32)


@pytest.mark.covers("SS-05")
def test_a_hole_is_filled_with_the_mean_of_the_rest():
    """4 x 6 pixels with a hole of 2 x 2: the mean of the 20 others, which the hole's own values do not touch.

    The smallest hole is one pixel.
    """
    x = jnp.arange(24.0).reshape(4, 6, 1) / 24
    keys = jax.random.split(jax.random.key(0), 100)
    cuts, least = jax.jit(lambda keys: [jax.vmap(lambda key, s=s: hole(key, x, *s))(keys) for s in ((), (0.1,))])(keys)
    weight = np.asarray(cuts.weight)
    np.testing.assert_array_equal(weight.sum((1, 2)), 4)
    np.testing.assert_array_equal(least.weight.sum((1, 2)), 1)
    assert len({tuple(w.argmax(0)) + tuple(w.argmax(1)) for w in weight}) == 15  # 3 x 5 places
    pixels = np.asarray(x)[..., 0]
    for n in range(100):
        mean = pixels[weight[n] == 0].mean()
        np.testing.assert_allclose(cuts.trivial[n], mean, rtol=1e-5)
        np.testing.assert_allclose(cuts.input[n, ..., 0], np.where(weight[n] > 0, mean, pixels), rtol=1e-5)
    np.testing.assert_array_equal(cuts.target[0], x)


@pytest.mark.covers("SS-06")
def test_gray_says_nothing_of_colors():
    """Two images of the same luma, .299 R + .587 G + .114 B, are one to the network."""
    red, green = jnp.array([0.587, 0.0, 0.0]), jnp.array([0.0, 0.299, 0.0])
    a, b = (remove_colors(jax.random.key(0), jnp.broadcast_to(c, (2, 2, 3))) for c in (red, green))
    np.testing.assert_allclose(a.input, b.input, atol=1e-4)
    np.testing.assert_allclose(a.input, 0.299 * 0.587, atol=1e-4)
    np.testing.assert_array_equal(a.trivial, a.input)
    np.testing.assert_array_equal(a.target[0, 0], red)
    np.testing.assert_array_equal(a.weight, 1)
    with pytest.raises(ValueError, match=r"image=\(2, 2, 1\): has no colors; allowed: \[H, W, 3\]"):
        to_grayscale(jnp.zeros((2, 2, 1)))


@pytest.mark.covers("SS-07")
@pytest.mark.parametrize("channel", [0, 1, 3])
def test_the_hidden_channel_does_not_reach_the_network(channel):
    """Of four channels, the last of which may be depth; in its place stands the mean of the three others."""
    x = image(4)
    other = x.at[..., channel].set(0.9)
    task, changed = hidden_channel(x, channel), hidden_channel(other, channel)
    np.testing.assert_allclose(task.input, changed.input, atol=1e-6)
    rest = np.delete(np.asarray(x), channel, -1)
    np.testing.assert_allclose(task.input[..., channel], rest.mean(-1), rtol=1e-5)
    np.testing.assert_allclose(np.delete(np.asarray(task.input), channel, -1), rest)
    np.testing.assert_allclose(task.trivial[..., 0], rest.mean(-1), rtol=1e-5)
    np.testing.assert_array_equal(task.target[..., 0], x[..., channel])


@pytest.mark.covers("SS-08")
def test_a_small_image_has_lost_detail_and_kept_slopes():
    """A checkerboard of single pixels becomes gray; a ramp stays, but for its ends."""
    board = (np.indices((16, 16)).sum(0) % 2)[..., None].astype(np.float32)
    resized = jax.jit(shrink_and_enlarge)
    np.testing.assert_allclose(resized(board).input[3:-3, 3:-3], 0.5, atol=0.02)
    ramp = np.broadcast_to(np.arange(16, dtype=np.float32)[None, :, None] / 16, (16, 16, 1))
    task = resized(ramp)
    np.testing.assert_allclose(task.input[:, 4:-4], ramp[:, 4:-4], atol=0.01)
    np.testing.assert_array_equal(task.trivial, task.input)
    np.testing.assert_array_equal(task.target, ramp)


class Plain(nn.Module):
    """In each channel a m + b, m the mean of what is seen of the pixel, and 1 more in training."""

    channels: int = 3

    @nn.compact
    def __call__(self, x, train=False):
        count_pass(self, train, draws=True)
        a, b = (self.param(name, nn.initializers.ones, ()) for name in "ab")
        return (a * (x.mean(-1, keepdims=True) + train) + b).repeat(self.channels, -1)


@pytest.mark.parametrize(
    ("technique", "task", "channels", "settings"),
    [
        pytest.param(
            inpainting,
            lambda key, x: hole(key, x, 0.6),
            3,
            {"hole_share": 0.6},
            marks=pytest.mark.slow,
            id="inpainting",
        ),
        pytest.param(colorization, remove_colors, 3, {}, id="colorization"),
        pytest.param(cross_channel, lambda key, x: hidden_channel(x, 1), 1, {"channel": 1}, id="cross_channel"),
        pytest.param(cross_channel, lambda key, x: hidden_channel(x, 0), 1, {}, id="cross_channel_0"),
        pytest.param(
            super_resolution_pretext, lambda key, x: shrink_and_enlarge(x, 4), 3, {"factor": 4}, id="super_resolution"
        ),
    ],
)
@pytest.mark.covers("SS-05", "SS-06", "SS-07", "SS-08")
def test_one_update_by_hand(technique, task, channels, settings):
    """The mean over the pixels that are asked for of |trivial + a m + b - target|^2 / K; padding is left out."""
    learner = technique.learner(
        model=Plain(channels),
        optimizer=optax.sgd(0.1),
        prepare=lambda images: images / 2,
        normalize=lambda images: 2 * images - 1,
        **settings,
    )
    x = np.random.default_rng(0).random((3, 4, 4, 3), np.float32)
    batch = {"image": x, "index": np.arange(3, dtype=np.int32), "mask": np.array([1, 1, 0], np.float32)}
    params = {"a": np.float32(0.7), "b": np.float32(-0.2)}
    state = ModelState(np.int32(3), jax.random.key(0), params, optax.sgd(0.1).init(params), PASSED)

    @jax.jit
    def step(state):
        keys = example_keys(jax.random.fold_in(jax.random.fold_in(state.rng, state.step), 0), batch)
        return learner.update(state, batch)[0].replace(rng=None), jax.vmap(task)(keys, x / 2)

    after, drawn = jax.device_get(step(state))
    seen = (2 * drawn.input - 1).mean(-1, keepdims=True) + 1
    share = drawn.weight / drawn.weight.sum((1, 2), keepdims=True) * np.array([0.5, 0.5, 0])[:, None, None]
    slope = 2 * (drawn.trivial + 0.7 * seen - 0.2 - drawn.target) * share[..., None] / channels
    want = {"a": 0.7 - 0.1 * (slope * seen).sum(), "b": -0.2 - 0.1 * slope.sum()}
    assert after.params == pytest.approx(want, rel=1e-5)
    assert passes(after.model_state) == 3 + 1


class Seen(nn.Module):
    """a m + b of a pixel's mean m; features are a times the sum of an image's pixels."""

    def setup(self):
        self.a, self.b = (self.param(name, nn.initializers.ones, ()) for name in "ab")

    def __call__(self, x, train=False):
        return self.a * x.mean(-1, keepdims=True) + self.b

    def features(self, x):
        return self.a * x.sum((1, 2))


@pytest.mark.covers("SS-07")
def test_measures_and_answers_are_clipped_and_the_loss_is_not(monkeypatch):
    """Of each pixel's second channel, trivial + 9 m + 4, which leaves [0, 1]; padding is left out.

    Features are of the image as `present` shows it, with and without what was learned.
    """
    learner = fill_in_learner(
        Seen(), optax.sgd(0.1), lambda key, x: hidden_channel(x, 1), "others",
        prepare=lambda images: images / 2, normalize=lambda images: 2 * images - 1, present=lambda x: x[..., :1],
    )  # fmt: skip
    x = np.random.default_rng(0).random((3, 4, 5, 3), np.float32)
    batch = {"image": x, "index": np.arange(3, dtype=np.int32), "mask": np.array([1, 1, 0], np.float32)}
    state = ModelState(np.int32(3), jax.random.key(0), {"a": np.float32(9), "b": np.float32(4)}, None, {})
    first = {"params": {"a": jnp.ones(()), "b": jnp.ones(())}}
    monkeypatch.setattr(fill_in, "init_variables", lambda model, rng, images: first)

    @jax.jit
    def run(state):
        tasks = jax.vmap(lambda image: hidden_channel(image, 1))(x / 2)
        return learner.evaluate(state, batch), learner.predict(state, batch), tasks

    metrics, out, drawn = jax.device_get(run(state))
    prediction = drawn.trivial + 9 * (2 * drawn.input - 1).mean(-1, keepdims=True) + 4
    assert (prediction < 0).any()
    assert (prediction > 1).any()
    answer = prediction.clip(0, 1)
    np.testing.assert_allclose(out["answer"], answer, atol=1e-5)

    def squared(y):
        return np.square(y - drawn.target)[:2].mean((1, 2, 3))

    expected = {"loss": squared(prediction), "mse": squared(answer), "mse_others": squared(drawn.trivial)}
    expected |= {name.replace("mse", "psnr"): -10 * np.log10(expected[name]) for name in ("mse", "mse_others")}
    found = {name: metric.compute() for name, metric in metrics.items()}
    assert found == pytest.approx({name: values.mean() for name, values in expected.items()}, rel=1e-4)
    shown = (x[..., :1] - 1).sum((1, 2))  # 2 x / 2 - 1
    np.testing.assert_allclose(out["features"], 9 * shown, rtol=1e-4)
    np.testing.assert_allclose(out["untrained"], shown, rtol=1e-4)


def rows(n=32):
    """Images whose red is what green is not: nothing is easier to tell, and the mean of green and blue does not."""
    x = np.random.default_rng(0).random((n, 6, 6, 3)).astype(np.float32)
    x[..., 0] = 1 - x[..., 1]
    return {"image": x, "index": np.arange(n, dtype=np.int32)}


@pytest.fixture(scope="module")
def trained():
    """(learner, state before, state after 200 steps, rows); there is no label in the batch."""
    learner = fill_in_learner(
        Filler(Backbone(), 1, 32),
        optax.adam(1e-2),
        lambda key, x: hidden_channel(x),
        "others",
        present=lambda x: remove_channel(x, 0),
    )
    batch = rows()
    first = state = jax.jit(learner.init)(jax.random.key(0), batch)
    update = jax.jit(learner.update)
    for _ in range(200):
        state, _ = update(state, batch)
    return learner, first, state, batch


@pytest.mark.slow
@pytest.mark.covers("SS-01", "SS-07")
def test_a_network_learns_what_the_trivial_answer_does_not_know(trained):
    learner, first, state, batch = trained
    evaluate = jax.jit(learner.evaluate)
    before, after = ({k: m.compute() for k, m in evaluate(s, batch).items()} for s in (first, state))
    assert after["mse"] < 0.2 * after["mse_others"]
    assert before["mse"] > 0.6 * before["mse_others"]
    red, others = batch["image"][..., 0], batch["image"][..., 1:].mean(-1)
    squared = np.square(red - others).mean((1, 2))
    assert after["mse_others"] == pytest.approx(squared.mean(), rel=1e-5)
    assert after["psnr_others"] == pytest.approx((-10 * np.log10(squared)).mean(), rel=1e-5)
    assert after["psnr"] > after["psnr_others"] + 6


@pytest.mark.weekly
def test_predictions_are_the_measured_answer_and_the_features(trained):
    """`answer` is what `mse` measures, and features come from images as the encoder has learned to see them."""
    learner, first, state, batch = trained
    out, start = jax.jit(learner.predict)(state, batch), jax.jit(learner.predict)(first, batch)
    mse = np.square(out["answer"][..., 0] - batch["image"][..., 0]).mean()
    assert mse == pytest.approx(learner.evaluate(state, batch)["mse"].compute(), rel=1e-4)
    np.testing.assert_allclose(out["untrained"], start["features"], rtol=1e-4, atol=1e-6)
    redder = {**batch, "image": batch["image"].copy()}
    redder["image"][..., 0] = 0.2
    np.testing.assert_allclose(learner.predict(state, redder)["features"], out["features"], rtol=1e-4, atol=1e-6)
    chex.assert_shape(out["features"], (32, 24))


@pytest.mark.weekly
def test_only_what_is_weighted_and_not_padded_counts(trained):
    _, _, state, batch = trained
    learner = fill_in_learner(Filler(Backbone(), 3, 32), optax.adam(1e-2), lambda key, x: hole(key, x, 0.34), "mean")
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    evaluate = jax.jit(learner.evaluate)
    padded = {k: np.concatenate([v, v[:2]]) for k, v in batch.items()} | {"mask": np.r_[np.ones(32), 0, 0]}
    padded["image"][32:] = 0.5
    for name, metric in evaluate(state, batch).items():
        assert evaluate(state, padded)[name].compute() == pytest.approx(metric.compute(), rel=1e-4), name
    out = jax.jit(learner.predict)(state, batch)["answer"]
    keys = jax.vmap(lambda i: jax.random.fold_in(state.rng, i))(batch["index"])
    weight = np.asarray(jax.vmap(lambda k, x: hole(k, x, 0.34))(keys, batch["image"]).weight)
    squared = np.square(np.asarray(out) - batch["image"]).mean(-1)
    by_hand = (squared * weight).sum((1, 2)) / 4  # holes of 2 x 2
    assert evaluate(state, batch)["mse"].compute() == pytest.approx(by_hand.mean(), rel=1e-4)


def test_the_wiring_of_filler_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(Filler(Backbone(), 3, 4), (1, 16, 8, 3), [25.9478, 1.11741])


def task_of(monkeypatch, technique, **setting):
    """(The task that a technique's learner trains on, what encodes images afterwards)."""
    asked = []
    monkeypatch.setattr(technique, "fill_in_learner", lambda *arguments: asked.append(arguments) or "learner")
    common = {"model": Plain(3), "optimizer": None, "prepare": len, "normalize": max}
    assert technique.learner(**common, **setting) == "learner"
    ((model, _, task, name, prepare, normalize, *present),) = asked
    assert (model, name, prepare, normalize) == (Plain(3), technique.TRIVIAL, len, max)
    return task, present


def test_the_hole_has_the_share_that_is_asked_for(monkeypatch):
    monkeypatch.setattr(inpainting, "hole", lambda *arguments: arguments)
    task, present = task_of(monkeypatch, inpainting, hole_share=0.25)
    assert task("key", "image") == ("key", "image", 0.25)
    assert present == []


def test_the_channel_that_is_asked_for_is_hidden_and_afterwards_removed(monkeypatch):
    monkeypatch.setattr(cross_channel, "hidden_channel", lambda *arguments: ("hidden", *arguments))
    monkeypatch.setattr(cross_channel, "remove_channel", lambda *arguments: ("removed", *arguments))
    task, (present,) = task_of(monkeypatch, cross_channel, channel=2)
    assert task("key", "image") == ("hidden", "image", 2)
    assert present("image") == ("removed", "image", 2)


def test_a_filler_has_the_features_of_its_backbone_and_a_learner_begins_with_prepared_images():
    class Twice(nn.Module):
        def features(self, x, train=False):
            return {"first": x, "last": 2 * x}

    x = np.random.default_rng(0).random((2, 3, 4, 5), np.float32)
    found = Filler(Twice(), 1, 4).apply({}, x, method="features")
    np.testing.assert_allclose(found, 2 * x.mean((1, 2)), rtol=1e-5)

    class First(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            return self.param("first", lambda key: x[0])

    learner = fill_in_learner(First(), optax.sgd(0.1), None, "none", lambda x: x / 2, lambda x: x - 3)
    state = learner.init(jax.random.key(0), {"image": x})
    np.testing.assert_allclose(state.params["first"], x[0] / 2 - 3, rtol=1e-6)
    assert (state.step, state.model_state) == (0, {})


@pytest.mark.covers("SS-08")
def test_images_are_made_smaller_and_larger_by_keys_s_cubic_at_minus_a_half():
    """As jax.image does away from the borders, where it weighs fewer pixels instead of repeating the last one."""
    x = np.random.default_rng(0).random((24, 40, 2), np.float32)

    @jax.jit
    def run(x):
        small = jax.image.resize(x, (6, 10, 2), "cubic", antialias=True)
        return shrink_and_enlarge(x, 4).input, jax.image.resize(small, x.shape, "cubic")

    found, expected = run(x)
    np.testing.assert_allclose(found[11:13, 11:-11], expected[11:13, 11:-11], atol=1e-5)


def test_detail_is_lost_along_both_sides():
    """Stripes of one pixel are between two pixels of the small image: gray is left of black and white."""
    stripes = np.tile(np.float32([0, 1]), (12, 6))[..., None]
    for image in (stripes, stripes.transpose(1, 0, 2)):
        given = np.asarray(shrink_and_enlarge(image, 2).input)
        np.testing.assert_allclose(given[3:-3, 3:-3], 0.5, atol=0.05)
