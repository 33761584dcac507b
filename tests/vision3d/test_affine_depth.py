"""Depth up to scale and shift: the loss and measures by hand, and metric depth."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.metrics.depth import align_scale_and_shift
from dlcore.vision3d import affine_depth


class FirstChannel(nn.Module):
    """The image's first channel at some pixels, times a parameter of 1."""

    metric: bool = False
    step: int = 1

    @nn.compact
    def __call__(self, image, train=False):
        return self.param("factor", nn.initializers.ones, ()) * image[:, :: self.step, :: self.step, 0]


DEPTH = np.float32([[[1, 2], [4, 0]], [[9, 9], [9, 9]]])  # the second image is padding, a pixel of the first unknown


def batch_of(values):
    image = np.repeat(np.float32(values)[None, ..., None], 2, 0)
    return {"image": image, "depth": DEPTH, "index": np.arange(2), "mask": np.float32([1, 0])}


def measured(values, **fields):
    learner = affine_depth.learner(model=FirstChannel(**fields), optimizer=optax.sgd(1.0))
    batch = batch_of(values)
    state = learner.init(jax.random.key(0), batch)
    return {name: value.compute() for name, value in jax.jit(learner.evaluate)(state, batch).items()}


@pytest.mark.covers("TD-26")
def test_disparity_up_to_scale_and_shift_is_right_and_other_maps_are_not():
    """The disparities are 1, 1/2 and 1/4; 3 d - 5 is as good as d, whatever the unknown pixel says."""
    found = measured([[3 - 5, 1.5 - 5], [0.75 - 5, 77]])
    assert found["loss"] == pytest.approx(0, abs=1e-6)
    assert found["abs_rel"] == pytest.approx(0, abs=1e-5)
    # A constant map becomes the mean disparity 7/12: residuals 5/12, -1/12, -4/12, of which half the mean square.
    found = measured([[2, 2], [2, 2]])
    squares = (5**2 + 1 + 4**2) / 12**2 / 6
    edges = (1 / 2 + 3 / 4) / 3 / 2  # |1 - 1/2| across and |1 - 1/4| down, over three known pixels at stride 1
    assert found["loss"] == pytest.approx(squares + edges, rel=1e-5)
    assert found["abs_rel"] == pytest.approx((5 / 7 + (2 / 7) / 2 + (16 / 7) / 4) / 3, rel=1e-5)


@pytest.mark.covers("TD-26")
def test_a_metric_network_is_measured_as_it_is():
    """d = ln 2 everywhere: mean square less half the squared mean, and a relative error of 1."""
    found = measured([[2, 4], [8, 1]], metric=True)
    assert found["loss"] == pytest.approx(np.log(2) ** 2 / 2, rel=1e-5)
    assert found["abs_rel"] == pytest.approx(1)


@pytest.mark.covers("TD-26")
def test_alignment_is_exact_far_from_zero():
    truth = np.random.default_rng(0).uniform(0.1, 1, (2, 5, 7)).astype(np.float32)
    for offset in (0, 1e3):
        found = align_scale_and_shift(jnp.asarray(offset - 4 * truth), jnp.asarray(truth))
        np.testing.assert_allclose(found, truth, atol=1e-6 + 1e-7 * offset)


@pytest.mark.covers("TD-26")
def test_a_small_map_is_enlarged_and_predictions_are_named():
    learner = affine_depth.learner(model=FirstChannel(step=2), optimizer=optax.sgd(1.0))
    batch = batch_of([[3, 1], [1, 1]])
    state = learner.init(jax.random.key(0), batch)
    np.testing.assert_allclose(learner.predict(state, batch)["disparity"], np.full((2, 2, 2), 3))
    learner = affine_depth.learner(model=FirstChannel(metric=True), optimizer=optax.sgd(1.0))
    np.testing.assert_array_equal(learner.predict(state, batch)["depth"][0], [[3, 1], [1, 1]])
