"""Voxel generation: shapes and costs of both decoders, the loss by hand, baselines, and a solid that is learned."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.voxel_solids import voxel_solids
from dlcore.vision3d import voxel_generation
from dlcore.vision3d.voxel_generation import VoxelGenerator, mean_shape_iou, nearest_image_iou
from tests.wiring import assert_wiring


def shapes(decoder, resolution=16):
    """(kernels of the decoder by name, logits), without computing."""
    model = VoxelGenerator(resolution, decoder, width=2, latent_dim=4)
    x = jax.ShapeDtypeStruct((3, 32, 32, 1), jnp.float32)
    logits, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), x)
    return {name: leaf["kernel"].shape for name, leaf in variables["params"].items()}, logits.shape


@pytest.mark.covers("TD-05")
def test_a_deconvolution_has_three_axes_and_a_tube_has_depth_as_channels():
    deconvolution, logits = shapes("deconvolution")
    assert logits == (3, 16, 16, 16)
    # 16 = 4 2^2: two doublings, from width 2^2 = 8 channels; kernels of a transposed convolution are [..., out, in]
    assert deconvolution["grid"] == (4, 4**3 * 8)
    assert deconvolution["decoder0"] == (4, 4, 4, 4, 8)
    assert deconvolution["decoder1"] == (4, 4, 4, 2, 4)
    assert deconvolution["occupancy"] == (3, 3, 3, 2, 1)
    tubes, logits = shapes("tubes")
    assert logits == (3, 16, 16, 16)
    assert tubes["grid"] == (4, 4**2 * 16)
    assert tubes["decoder0"] == (4, 4, 8, 16)
    assert tubes["decoder1"] == (4, 4, 4, 8)
    assert tubes["occupancy"] == (3, 3, 4, 16)  # 16 output channels: the depth


@pytest.mark.slow
@pytest.mark.covers("TD-05")
@pytest.mark.parametrize("decoder", ["deconvolution", "tubes"])
def test_a_decoder_learns_the_solids_that_it_saw(decoder):
    data = voxel_solids(4, 0, 8).arrays
    batch = {"image": data["image"], "voxels": data["voxels"], "index": np.arange(4)}
    model = VoxelGenerator(8, decoder, width=4, latent_dim=16)
    learner = voxel_generation.learner(model=model, optimizer=optax.adam(1e-2))

    @jax.jit
    def run(batch):
        state = learner.init(jax.random.key(0), batch)
        state, _ = jax.lax.scan(lambda state, _: learner.update(state, batch), state, None, length=80)
        return learner.predict(state, batch)["voxels"]

    voxels = run(batch)
    chex.assert_shape(voxels, (4, 8, 8, 8))
    got, want = np.asarray(voxels) > 0.5, batch["voxels"] > 0
    reached = ((got & want).sum((1, 2, 3)) / (got | want).sum((1, 2, 3))).mean()
    assert reached >= 0.9
    assert reached > mean_shape_iou(batch["voxels"], batch["voxels"]) + 0.2


class Fixed(nn.Module):
    """Logits that are parameters, one for each voxel."""

    @nn.compact
    def __call__(self, x):
        return jnp.broadcast_to(self.param("logits", nn.initializers.zeros, (2, 2, 2)), (len(x), 2, 2, 2))


def test_one_update_by_hand():
    # Logits 0: every p = 1/2, L = log 2, dL/ds = mean over examples of (p - y) / 8; one step of rate 8.
    voxels = np.zeros((2, 2, 2, 2), np.uint8)
    voxels[0, 0], voxels[1, 0, 0] = 1, 1  # 4 and 2 of 8 voxels
    batch = {"image": np.zeros((2, 4, 4, 1), np.float32), "voxels": voxels, "index": np.arange(2)}
    learner = voxel_generation.learner(model=Fixed(), optimizer=optax.sgd(8.0))

    @jax.jit
    def run():
        state, metrics = learner.update(learner.init(jax.random.key(0), batch), batch)
        measures = (
            learner.evaluate(state, batch),
            learner.loss(state.params, state, batch),
            learner.predict(state, batch),
        )
        return state, metrics, *measures

    state, metrics, evaluation, (loss, _), prediction = run()
    assert float(metrics["loss"].compute()) == pytest.approx(np.log(2))
    np.testing.assert_allclose(state.params["logits"], voxels.mean(0) - 0.5, atol=1e-6)
    # [[1, 1], [1/2, 1/2]] - 1/2 in the upper plane: its two left voxels are occupied, 2 / 4 and 2 / 2 of the union
    assert float(evaluation["iou"].compute()) == pytest.approx((2 / 4 + 2 / 2) / 2)
    chances = 1 / (1 + np.exp(-(voxels.mean(0) - 0.5)))
    np.testing.assert_allclose(prediction["voxels"], np.stack([chances] * 2), atol=1e-6)
    true = np.where(voxels > 0, chances, 1 - chances)
    assert float(loss) == pytest.approx(-np.log(true).mean(), rel=1e-5)


def test_baselines_by_hand():
    train = {
        "voxels": np.array([[1, 1, 0, 0], [1, 0, 0, 0]], np.uint8).reshape(2, 1, 2, 2),
        "image": np.array([[0.0], [1.0]], np.float32).reshape(2, 1, 1, 1),
    }
    test = {
        "voxels": np.array([[1, 1, 1, 0]], np.uint8).reshape(1, 1, 2, 2),
        "image": np.full((1, 1, 1, 1), 0.9, np.float32),
    }
    assert nearest_image_iou(train, test) == pytest.approx(1 / 3)  # the second: one of the three voxels
    # The mean is (1, 1/2, 0, 0): below a threshold of 1/2 it has two of the three voxels.
    assert mean_shape_iou(train["voxels"], test["voxels"]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("count", "first", "expected"),
    [
        (3, 1, 1),  # .15 is above the least threshold, .1
        (15, 0, 1),  # .75 is below the largest, .8
        (17, 0, 1 / 2),  # .85 is above the largest
    ],
)
def test_thresholds_of_the_mean_shape_are_tenths(count, first, expected):
    """Of 20 solids `count` have the first of two voxels, and all the second, as the solid to predict has."""
    train = (np.arange(20)[:, None] < [count, 20]).astype(np.uint8)
    assert mean_shape_iou(train, np.array([[first, 1]], np.uint8)) == pytest.approx(expected)


def test_bad_input():
    x = jnp.zeros((1, 16, 16, 1))
    with pytest.raises(ValueError, match=r"resolution=12: cannot be reached; allowed: 8, 16, 32"):
        jax.eval_shape(VoxelGenerator(12).init, jax.random.key(0), x)


def test_the_wiring_of_voxel_generator_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(VoxelGenerator(8, width=2, latent_dim=4), (1, 8, 16, 3), [17.3483, 14.2509])
