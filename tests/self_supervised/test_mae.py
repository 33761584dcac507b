"""The loss by hand, with and without normalized targets, and that labels and padding take no part."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

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
    patches = jnp.asarray([[[1.0, 3], [5, 5], [2, 6]]])
    np.testing.assert_array_equal(mae.patch_targets(patches), patches)
    # (1, 3): mean 2, unbiased variance 2, so -+ 1 / sqrt 2; (5, 5) has no variance; (2, 6): mean 4, variance 8
    want = [[[-(0.5**0.5), 0.5**0.5], [0, 0], [-(0.5**0.5), 0.5**0.5]]]
    np.testing.assert_allclose(mae.patch_targets(patches, norm_pix_loss=True), want, rtol=1e-5)
    # The first two are seen, their mean is (3, 4): the third misses it by (-1, 2), 5 / 2
    np.testing.assert_allclose(mae.mean_patch_loss(patches, jnp.asarray([[0.0, 0, 1]]))[0, 2], 2.5)


@pytest.mark.slow
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


@pytest.mark.slow
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
