"""SimMIM: an update by hand, cells masked as a whole, the loss of masked patches alone, and bad input."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.self_supervised import simmim
from dlcore.self_supervised.patch_masks import random_mask
from dlcore.self_supervised.patch_predictors import masked_patch_mean
from tests import patch_toys as toys


def learner(**kwargs):
    return simmim.learner(model=toys.ToyEncoder(), optimizer=optax.sgd(toys.RATE), **kwargs)


@pytest.mark.slow
@pytest.mark.covers("SS-36")
def test_one_update_by_hand():
    """Of 4x4 patches of one pixel, 2 of the 4 cells are masked."""
    params = {"encoder": toys.weights(1, *toys.ENCODER), "head": toys.weights(2, ("kernel", (3, 1)), ("bias", 1))}
    built = learner(mask_ratio=0.5, augment=toys.darken, preprocess=toys.double)
    state = toys.state_of(built, params)
    draw = jax.vmap(lambda key: random_mask(key, (4, 4), 0.5, 2))
    masked = jax.device_get(jax.jit(draw)(toys.step_keys(state)))
    images = 2 * toys.ROWS["image"].astype(np.float64) - 0.5

    def loss(params):
        prediction = toys.encode(params["encoder"], images, masked) @ params["head"]["kernel"] + params["head"]["bias"]
        errors = np.abs(prediction[..., 0] - images.reshape(3, 16))
        return np.mean([errors[i][masked[i]].mean() for i in range(2)])

    after, _ = toys.check_update(built, state, loss)
    assert after.teacher_params is None


def test_cells_are_masked_as_a_whole_and_evenly():
    draw = jax.vmap(lambda key: random_mask(key, (4, 6), 0.5, 2))
    masks = jax.device_get(jax.jit(draw)(jax.random.split(jax.random.key(0), 300))).reshape(300, 2, 2, 3, 2)
    np.testing.assert_array_equal(masks.max((2, 4)), masks.min((2, 4)))
    cells = masks[:, :, 0, :, 0].reshape(300, 6)
    assert (cells.sum(1) == 3).all(), "half of 6 cells"
    # A cell is masked with probability 1/2; the deviation of the mean of 300 is 0.03.
    np.testing.assert_allclose(cells.mean(0), 0.5, atol=0.12)


@pytest.mark.covers("SS-36")
def test_the_loss_is_that_of_masked_patches_alone():
    masked = np.array([[True, False, True, False], [False] * 4])
    losses = np.array([[1.0, np.nan, 3.0, 99.0], [7.0] * 4], np.float32)
    # (1 + 3) / 2, and no masked patch; the gradient is 1/2 where a patch is masked and else 0.
    np.testing.assert_allclose(masked_patch_mean(losses, masked), [2, 0])
    gradient = jax.jit(jax.grad(lambda x: masked_patch_mean(x, masked).sum()))(np.ones((2, 4), np.float32))
    np.testing.assert_allclose(gradient, [[0.5, 0, 0.5, 0], [0] * 4])
    # The visible patches 2 and 4 have the mean 3.
    patches = np.array([[9.0, 2.0, 9.0, 4.0]], np.float32)[..., None]
    np.testing.assert_allclose(simmim.visible_mean(patches, masked[:1]), [[[3.0]]])


@pytest.mark.weekly
@pytest.mark.parametrize("spmd", ["jit", "pmap"])
def test_eight_devices_equal_one(spmd):
    one = toys.params_after_two_steps(learner(), 1)
    chex.assert_trees_all_close(one, toys.params_after_two_steps(learner(), 8, spmd), atol=1e-6)


def test_masks_that_cover_all_or_nothing():
    with pytest.raises(ValueError, match=r"mask_ratio=1\.5: .*allowed: "):
        learner(mask_ratio=1.5)
    for ratio, count in ((0.06, 1), (0.94, 15)):
        assert random_mask(jax.random.key(0), (4, 4), ratio).sum() == count


@pytest.mark.covers("SS-36")
def test_both_measures_of_masked_pixels_by_hand(monkeypatch):
    """Pixels 0 to 15 over 16, the first four masked: distances to the mask token's 1/2, and to the mean of 4 to 15."""
    drawn = []

    def draw(key, *settings):
        drawn.append(settings)
        return jnp.arange(16) < 4

    monkeypatch.setattr(simmim, "random_mask", draw)
    head = {"kernel": np.float32([[0.5], [0], [0]]), "bias": np.zeros(1, np.float32)}
    encoder = {"w": np.zeros(3, np.float32), "b": np.zeros(3, np.float32), "mask_token": np.float32([1, 0, 0])}
    built = learner(mask_ratio=0.25, cell=1)
    state = toys.state_of(built, {"encoder": encoder, "head": head})
    pixels = np.arange(16) / 16
    images = np.broadcast_to(pixels.reshape(4, 4, 1), (3, 4, 4, 1)).astype(np.float32)
    metrics = jax.jit(built.evaluate)(state, toys.ROWS | {"image": images})
    assert set(drawn) == {((4, 4), 0.25, 1)}
    assert metrics["loss"].compute() == pytest.approx(np.abs(0.5 - pixels[:4]).mean(), rel=1e-5)
    assert metrics["mean_patch"].compute() == pytest.approx(np.abs(pixels[4:].mean() - pixels[:4]).mean(), rel=1e-5)
