"""Depth and normals from an image: losses and measures by hand, scale, and a scene that is learned."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.solids import rgbd_scenes
from dlcore.vision3d import depth
from dlcore.vision3d.depth import DepthNet
from tests.wiring import assert_wiring


class Constant(nn.Module):
    """Predict depth 2 everywhere and the normal (0, 0, -3)."""

    @nn.compact
    def __call__(self, image):
        log_depth = self.param("log_depth", lambda key: jnp.log(jnp.float32(2.0)))
        return jnp.zeros(image.shape[:3]) + log_depth, jnp.zeros((*image.shape[:3], 3)) + jnp.array([0.0, 0, -3])


BATCH = {  # the second image is padding
    "image": np.zeros((2, 1, 2, 3), np.float32),
    "depth": np.array([[[2.0, 4.0]], [[7.0, 9.0]]], np.float32),
    "normals": np.array([[[[0, 0, -1], [0, 1, 0]]], [[[1, 0, 0], [1, 0, 0]]]], np.float32),
    "index": np.arange(2),
    "mask": np.array([1, 0], np.float32),
}


def measured(batch, **settings):
    learner = depth.learner(model=Constant(), optimizer=optax.sgd(1.0), **settings)
    state = learner.init(jax.random.key(0), batch)
    outputs = jax.jit(learner.predict)(state, batch)
    np.testing.assert_allclose(outputs["depth"], np.full((2, 1, 2), 2), rtol=1e-6)
    np.testing.assert_array_equal(outputs["normals"], np.broadcast_to([0, 0, -1], (2, 1, 2, 3)))
    return {name: value.compute() for name, value in jax.jit(learner.evaluate)(state, batch).items()}


@pytest.mark.covers("TD-01", "TD-03")
def test_losses_and_measures_by_hand():
    numbers = measured(BATCH, variance_weight=0.5, normal_weight=0.2)
    # d = 0, -ln 2: mean square ln²2 / 2, half the squared mean ln²2 / 8; normals agree, and are perpendicular: 1/2.
    assert numbers["loss"] == pytest.approx(np.log(2) ** 2 * (1 / 2 - 1 / 8) + 0.2 / 2, rel=1e-5)
    assert numbers["normal_error"] == pytest.approx(0.5)
    assert numbers["abs_rel"] == pytest.approx(0.25)  # 0 and 2 / 4


@pytest.mark.covers("TD-01")
def test_a_scene_k_times_larger_has_the_same_loss_and_another_relative_error():
    larger = BATCH | {"depth": 5 * BATCH["depth"]}
    one, other = measured(BATCH, variance_weight=1.0), measured(larger, variance_weight=1.0)
    assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
    assert other["silog"] == pytest.approx(one["silog"], rel=1e-5)
    assert other["abs_rel"] == pytest.approx((8 / 10 + 18 / 20) / 2)


@pytest.mark.covers("TD-17")
def test_rendered_scenes_are_learned_better_than_their_mean_depth():
    scenes, rng = rgbd_scenes(3, 0, 8).arrays, np.random.default_rng(0)
    batch, truth = {**scenes, "index": np.arange(3)}, scenes["depth"]
    learner = depth.learner(model=depth.DepthNet(widths=(12,)), optimizer=optax.adam(0.02))
    state = jax.eval_shape(learner.init, jax.random.key(0), batch)

    def draw(v):  # He's initialization by NumPy: random numbers under jit take long to compile
        kernel = rng.normal(size=v.shape) * np.sqrt(2 / max(1, np.prod(v.shape[:-1])))
        return (kernel if len(v.shape) > 1 else np.zeros(v.shape)).astype(v.dtype)

    zeros = jax.tree.map(lambda v: np.zeros(v.shape, v.dtype), state.opt_state)
    params = jax.tree.map(draw, state.params)
    state = state.replace(step=np.int32(0), rng=jax.random.key(0), params=params, opt_state=zeros)

    @jax.jit
    def train(state):
        state = jax.lax.fori_loop(0, 200, lambda _, s: learner.update(s, batch)[0], state)
        return learner.predict(state, batch)["depth"]

    def abs_rel(prediction):
        return float((np.abs(prediction - truth) / truth).mean())

    assert abs_rel(np.asarray(train(state))) < abs_rel(truth.mean(0)) / 2


def test_bad_input_is_one_clear_line():
    with pytest.raises(ValueError, match="cannot be halved; allowed: sides that 8 divides"):
        jax.eval_shape(depth.DepthNet().init, jax.random.key(0), jax.ShapeDtypeStruct((1, 12, 16, 3), jnp.float32))


def test_the_wiring_of_depth_net_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(DepthNet((4, 4)), (1, 8, 12, 3), [21.4212, -4.34207])
