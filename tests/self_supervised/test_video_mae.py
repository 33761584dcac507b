"""VideoMAE: targets by hand, whole tubes, an update by hand, and bad input."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.learner import State, example_keys
from dlcore.self_supervised import video_mae
from dlcore.self_supervised.video_mae import TubeMAE
from tests import patch_toys as toys

TINY = TubeMAE(
    1, patch_size=2, depth=1, width=8, num_heads=1, mlp_features=8, decoder_depth=1, decoder_width=4, decoder_heads=1,
    decoder_features=4, mask_ratio=0.6,
)  # fmt: skip


@pytest.mark.covers("VD-21")
def test_targets_by_hand():
    """Two pixels of two channels: (1, 5) and (3, 5). Means 2 and 5, unbiased deviations sqrt 2 and 0."""
    tubelets = jnp.asarray([[[1.0, 5, 3, 5]]])
    np.testing.assert_array_equal(video_mae.tubelet_targets(tubelets, 2, norm_pix_loss=False), tubelets)
    targets = video_mae.tubelet_targets(tubelets, 2)
    np.testing.assert_allclose(targets, [[[-(0.5**0.5), 0, 0.5**0.5, 0]]], rtol=1e-5)
    with pytest.raises(ValueError, match=r"tubelets=\(1, 1, 4\): one pixel has no deviation; allowed: at least 2"):
        video_mae.tubelet_targets(tubelets, 4)


@pytest.mark.covers("VD-21")
def test_whole_tubes_are_seen():
    """Of 3 places floor(3 (1 - 0.6)) = 1 is seen, at both times: 2 tubelets; 6 (1 - 0.6) of them would be 2.4."""
    assert TINY.num_visible((2, 1, 3)) == 2
    assert TINY.clone(mask_ratio=0.5).num_visible((2, 1, 3)) == 2, "3 of 6 tubelets would cut a tube"


@pytest.mark.slow
@pytest.mark.covers("VD-21")
def test_hidden_places_are_hidden_at_all_times():
    learner = video_mae.learner(model=TINY, optimizer=optax.sgd(0.1))
    rows = {"image": np.random.default_rng(0).random((4, 4, 2, 6, 1), np.float32), "index": np.arange(4)}
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    out = jax.jit(learner.predict)(state, rows)
    masked = np.asarray(out["masked"]).reshape(4, 2, 3)
    np.testing.assert_array_equal(masked[:, 0], masked[:, 1])
    assert (masked.sum(2) == 2).all()
    chex.assert_shape([out["features"], out["untrained"]], (4, 8))


class Plain(nn.Module):
    """Two times of two places of two pixels; one place is hidden, and predicted as a m + b, m the mean of the other."""

    CLASS_TOKEN = False

    @nn.compact
    def __call__(self, clips, noise):
        patches = self.patches(clips)
        masked = (noise.argsort(-1).argsort(-1) >= 2).astype(jnp.float32)
        a, b = (self.param(name, nn.initializers.ones, ()) for name in "ab")
        seen = (patches.sum(-1) * (1 - masked)).sum(-1) / 4
        return {"prediction": jnp.zeros_like(patches) + (a * seen + b)[:, None, None], "mask": masked}

    def grid(self, clips):
        return (2, 1, 2)

    def patches(self, clips):
        return clips.reshape(len(clips), 4, 2)


@pytest.mark.covers("VD-21")
def test_one_update_by_hand():
    """The mean over hidden tubelets of |a m + b - target|^2 / 2, targets normalized; padding is left out."""
    learner = video_mae.learner(model=Plain(), optimizer=optax.sgd(0.1), preprocess=lambda clips: 2 * clips)
    rows = {"image": np.random.default_rng(0).random((3, 2, 1, 4, 1), np.float32), "index": np.arange(3)}
    rows["mask"] = np.array([1, 1, 0], np.float32)
    params = {"a": np.float32(0.7), "b": np.float32(-0.2)}
    state = State(np.int32(3), jax.random.key(0), params, optax.sgd(0.1).init(params))

    @jax.jit
    def step(state):
        keys = example_keys(jax.random.fold_in(state.rng, state.step), rows)
        noise = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(keys)
        return learner.update(state, rows)[0].params, noise

    after, noise = jax.device_get(step(state))
    patches = 2 * rows["image"].reshape(3, 2, 2, 2)  # [B, times, places, pixels]
    hidden = noise.argmax(1)
    seen = np.stack([patches[i, :, 1 - hidden[i]].mean() for i in range(3)])
    target = np.stack([patches[i, :, hidden[i]] for i in range(3)])  # [B, times, pixels]
    target = (target - target.mean(-1, keepdims=True)) / (target.std(-1, ddof=1, keepdims=True) + 1e-6)
    slope = (2 * (0.7 * seen[:, None, None] - 0.2 - target) / 4 / 2)[:2].sum((1, 2))
    expected = {"a": 0.7 - 0.1 * (slope * seen[:2]).sum(), "b": -0.2 - 0.1 * slope.sum()}
    assert after == pytest.approx(expected, rel=1e-5)


@pytest.mark.weekly
@pytest.mark.covers("VD-21")
@pytest.mark.parametrize("spmd", ["jit", "pmap"])
def test_eight_devices_equal_one(spmd):
    model = TINY.clone(patch_size=1, mask_ratio=0.5)

    def learner():
        return video_mae.learner(
            model=model, optimizer=optax.sgd(0.1), preprocess=lambda images: images.reshape(-1, 4, 2, 2, 1)
        )

    one = toys.params_after_two_steps(learner(), 1)
    chex.assert_trees_all_close(one, toys.params_after_two_steps(learner(), 8, spmd), atol=1e-6)
