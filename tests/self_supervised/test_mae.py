"""The loss by hand, with and without normalized targets, and that labels and padding take no part."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.learner import State, example_keys
from dlcore.self_supervised import mae
from tests.models.test_mae import TINY


@pytest.fixture(scope="module")
def started():
    learner = mae.learner(model=TINY, optimizer=optax.sgd(0.1))
    rows = {"image": np.random.default_rng(0).random((3, 8, 8, 1), np.float32), "index": np.arange(3)}
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    return learner, rows, state, jax.jit(learner.update), jax.jit(learner.predict)


@pytest.mark.covers("SS-19")
def test_targets_and_the_mean_patch_by_hand():
    patches = np.float32([[[1, 3], [5, 5], [2, 6]]])
    np.testing.assert_array_equal(mae.patch_targets(patches), patches)
    # (1, 3): mean 2, unbiased variance 2, so -+ 1 / sqrt 2; (5, 5) has no variance; (2, 6): mean 4, variance 8
    want = [[[-(0.5**0.5), 0.5**0.5], [0, 0], [-(0.5**0.5), 0.5**0.5]]]
    normalized = jax.jit(mae.patch_targets, static_argnames="norm_pix_loss")(patches, norm_pix_loss=True)
    np.testing.assert_allclose(normalized, want, rtol=1e-5)
    # The first two are seen, their mean is (3, 4): the third misses it by (-1, 2), 5 / 2
    np.testing.assert_allclose(jax.jit(mae.mean_patch_loss)(patches, np.float32([[0, 0, 1]]))[0, 2], 2.5)


def test_a_patch_of_one_value_has_no_variance():
    patches = jnp.ones((1, 2, 1))
    np.testing.assert_array_equal(mae.patch_targets(patches), patches)
    with pytest.raises(ValueError, match=r"patches=\(1, 2, 1\): one value has no variance; allowed: at least 2"):
        mae.patch_targets(patches, norm_pix_loss=True)


@pytest.mark.parametrize(("hidden", "loss_of_image", "mean_patch"), [((0, 0), 0, 0), ((1, 1), 4, 4), ((1, 0), 4, 0)])
def test_an_image_that_hides_nothing_or_all_has_a_finite_loss_and_gradient(hidden, loss_of_image, mean_patch):
    """Nothing hidden: 0 of a loss that is over hidden patches. All hidden: (0 - 2)^2 = 4, beside a mean of nothing.

    One of two hidden: the other is its mean.
    """
    target, masked = np.full((1, 2, 3), 2, np.float32), np.float32([hidden])

    def loss(prediction):
        return mae._objective(prediction, target, masked, np.ones(1, np.float32))

    (value, metrics), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(np.zeros((1, 2, 3), np.float32))
    assert float(value) == metrics["loss"].compute() == loss_of_image
    assert metrics["mean_patch"].compute() == mean_patch
    # d/dy of the mean over the hidden patches of 3 values each: 2 (0 - 2) / (3 hidden).
    expected = -4 / 3 * masked[..., None] / max(1, sum(hidden))
    np.testing.assert_allclose(gradient, np.broadcast_to(expected, gradient.shape), rtol=1e-6)


class Plain(nn.Module):
    """Four patches of two pixels; the two of the largest noise are hidden, and predicted as a m + b, m of the seen."""

    CLASS_TOKEN = True

    def encode(self, images):
        """A class token, which features leave out, and the patches times the weight a."""
        tokens = self.variables["params"]["a"] * self.patches(images)
        return jnp.concatenate([jnp.full_like(tokens[:, :1], 9), tokens], 1)

    @nn.compact
    def __call__(self, images, noise):
        patches = self.patches(images)
        masked = (noise.argsort(-1).argsort(-1) >= 2).astype(jnp.float32)
        a, b = (self.param(name, nn.initializers.ones, ()) for name in "ab")
        seen = (patches.sum(-1) * (1 - masked)).sum(-1) / 4
        return {"prediction": jnp.zeros_like(patches) + (a * seen + b)[:, None, None], "mask": masked}

    def grid(self, images):
        return (2, 2)

    def patches(self, images):
        return images.reshape(len(images), 4, 2)


@pytest.mark.covers("SS-19")
@pytest.mark.parametrize("norm_pix_loss", [False, True])
def test_one_update_by_hand(norm_pix_loss):
    """The mean over hidden patches of |a m + b - target|^2 / 2, of augmented images; padding is left out.

    The optimizer learns at a tenth of the loss, so it must be told the loss.
    """
    learner = mae.learner(
        model=Plain(),
        optimizer=optax.GradientTransformationExtraArgs(
            lambda params: (),
            lambda slopes, state, params=None, *, value, **_: (jax.tree.map(lambda g: -0.1 * value * g, slopes), state),
        ),
        augment=lambda key, image: image + jax.random.uniform(key),
        preprocess=lambda images: 2 * images,
        norm_pix_loss=norm_pix_loss,
    )
    rows = {"image": np.random.default_rng(0).random((3, 2, 4, 1), np.float32), "index": np.arange(3, dtype=np.int32)}
    rows["mask"] = np.array([1, 1, 0], np.float32)
    params = {"a": np.float32(0.7), "b": np.float32(-0.2)}
    state = State(np.int32(3), jax.random.key(0), params, ())

    @jax.jit
    def step(state):
        keys = example_keys(jax.random.fold_in(state.rng, state.step), rows)
        noise = jax.vmap(lambda key: jax.random.uniform(key, (4,)))(keys)
        light = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 1)))(keys)
        after, metrics = learner.update(state, rows)
        return after.params, metrics, noise, light

    after, metrics, noise, light = jax.device_get(step(state))
    patches = 2 * rows["image"].reshape(3, 4, 2) + light[:, None, None]
    hidden = noise >= np.sort(noise)[:, 2:3]
    seen = patches[~hidden].reshape(3, 4).mean(1)
    target = patches[hidden].reshape(3, 2, 2)
    if norm_pix_loss:
        target = (target - target.mean(-1, keepdims=True)) / np.sqrt(target.var(-1, ddof=1, keepdims=True) + 1e-6)
    error = (0.7 * seen[:, None, None] - 0.2 - target)[:2]
    loss, slope = (error**2).mean(), (2 * error / 4 / 2).sum((1, 2))
    want = {"a": 0.7 - 0.1 * loss * (slope * seen[:2]).sum(), "b": -0.2 - 0.1 * loss * slope.sum()}
    assert after == pytest.approx(want, rel=1e-5)
    assert metrics["loss"].compute() == pytest.approx(loss, rel=1e-5)


@pytest.mark.covers("SS-19")
def test_an_evaluation_and_a_prediction_take_images_as_they_are_and_features_leave_the_class_token_out():
    learner = mae.learner(
        model=Plain(), optimizer=optax.sgd(0.1), augment=lambda key, image: 0 * image, preprocess=lambda x: 2 * x
    )
    rows = {"image": np.random.default_rng(0).random((3, 2, 4, 1), np.float32), "index": np.arange(3, dtype=np.int32)}
    rows["mask"] = np.array([1, 1, 0], np.float32)
    state = State(np.int32(3), jax.random.key(0), {"a": np.float32(0.7), "b": np.float32(-0.2)}, ())

    @jax.jit
    def run(state):
        noise = jax.vmap(lambda key: jax.random.uniform(key, (4,)))(example_keys(state.rng, rows))
        return noise, learner.evaluate(state, rows), learner.predict(state, rows)

    noise, evaluated, predicted = jax.device_get(run(state))
    patches = 2 * rows["image"].reshape(3, 4, 2)
    hidden = noise >= np.sort(noise)[:, 2:3]
    seen = patches[~hidden].reshape(3, 2, 2)
    prediction = 0.7 * seen.mean((1, 2)) - 0.2
    misses = patches[hidden].reshape(3, 2, 2)[:2]
    loss = np.square(prediction[:2, None, None] - misses).mean()
    plain = np.square(seen.mean(1, keepdims=True)[:2] - misses).mean()
    assert evaluated["loss"].compute() == pytest.approx(loss, rel=1e-5)
    assert evaluated["mean_patch"].compute() == pytest.approx(plain, rel=1e-5)
    np.testing.assert_array_equal(predicted["masked"], hidden)
    np.testing.assert_allclose(predicted["target"], patches, rtol=1e-6)
    np.testing.assert_allclose(predicted["prediction"], np.tile(prediction[:, None, None], (1, 4, 2)), rtol=1e-5)
    np.testing.assert_allclose(predicted["features"], 0.7 * patches.mean(1), rtol=1e-5)
    np.testing.assert_allclose(predicted["untrained"], patches.mean(1), rtol=1e-5)


@pytest.mark.weekly
@pytest.mark.covers("SS-19")
def test_the_loss_is_that_of_masked_patches_only(started):
    learner, rows, state, _, predict = started
    out = predict(state, rows)
    errors = np.square(out["prediction"] - out["target"]).mean(-1)
    value, metrics = learner.loss(state.params, state, rows)
    masked = np.asarray(out["masked"]) > 0
    assert masked.sum(1).tolist() == [12, 12, 12], "three quarters of 16 patches"
    assert float(value) == pytest.approx(errors[masked].mean(), rel=1e-5)
    plain = mae.mean_patch_loss(out["target"], out["masked"])[masked].mean()
    assert metrics["mean_patch"].compute() == pytest.approx(float(plain), rel=1e-5)
    assert float(value) != pytest.approx(errors.mean(), rel=1e-3)


@pytest.mark.weekly
def test_a_step_draws_other_masks_uses_no_label_and_leaves_padding_out(started):
    learner, rows, state, update, predict = started
    after, metrics = update(state, rows)
    _, other = update(after.replace(params=state.params, opt_state=state.opt_state), rows)
    assert metrics["loss"].compute() != other["loss"].compute(), "another mask in the next step"
    padded = {k: np.concatenate([v, v[:1]]) for k, v in rows.items()} | {"mask": np.r_[np.ones(3), 0]}
    padded["image"][3] = 7.0
    same, third = jax.jit(learner.update)(state, padded)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), same.params, after.params)
    assert third["loss"].compute() == pytest.approx(metrics["loss"].compute(), rel=1e-5)
    trained, untrained = predict(after, rows), predict(state, rows)
    np.testing.assert_allclose(trained["untrained"], untrained["features"], rtol=1e-5)
    assert np.abs(trained["features"] - untrained["features"]).max() > 1e-5
