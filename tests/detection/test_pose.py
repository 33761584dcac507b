"""Pose by heat maps: bumps, weights, similarity and one update by hand; the networks' maps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from chex import assert_shape
from flax import linen as nn

from dlcore.detection.pose import SimpleBaseline, heat_map_targets, learner
from dlcore.metrics.keypoints import object_keypoint_similarity
from dlcore.models.resnet import BasicBlock, ResNet
from tests.passes import PASSED, count_pass, passes
from tests.told_sgd import told_sgd


@pytest.mark.covers("DE-39")
def test_bumps_stand_at_the_keypoints_and_only_labeled_ones_count():
    """Crops of 8 x 12 pixels, maps of 4 x 6 cells: keypoint (5, 3) is (5 / 2 - 1/2, 3 / 2 - 1/2) = (2, 1) in cells."""
    points = [[5, 3, 2], [6, 4, 1], [5, 3, 0], [-20, 3, 2], [np.nan, 0, 0]]
    # Three sigma beyond the last cells (5, 3) is (9.5, 7.5), which is (20, 16) in pixels; beyond the first, (-8, -8).
    points += [[20, 16, 2], [-8, -8, 2], [20.1, 3, 2], [5, 16.1, 2], [-8.1, 3, 2], [5, -8.1, 2]]
    points = np.array([points], np.float32)
    maps, weights = jax.jit(heat_map_targets, static_argnums=(1, 2))(points, (8, 12), (4, 6), 1.5)
    assert_shape(maps, (1, 4, 6, 11))
    x, y = np.meshgrid(np.arange(6), np.arange(4))
    np.testing.assert_allclose(maps[0, ..., 0], np.exp(-((x - 2) ** 2 + (y - 1) ** 2) / 4.5), rtol=1e-5)
    np.testing.assert_allclose(maps[0, ..., 1], np.exp(-((x - 2.5) ** 2 + (y - 1.5) ** 2) / 4.5), rtol=1e-5)
    # Not labeled; -20 / 2 - 1/2 is more than three sigma beyond the map; not labeled, and not a number.
    np.testing.assert_array_equal(weights, [[1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0]])
    assert np.isfinite(maps).all()


@pytest.mark.covers("DE-39")
def test_the_similarity_by_hand():
    """d^2 = 9 + 16; area 100 and sigma 0.25: exp(-25 / (2 * 100 * 0.25)) = exp(-1/2). The last one is not labeled."""
    target = jnp.array([[[10.0, 10, 2], [0, 0, 1], [jnp.nan, 5, 0]]])
    predicted = jnp.array([[[13.0, 14], [0, 0], [7, 7]]])
    sigmas = jnp.array([0.25, 0.1, 0.1])
    similarity = jax.jit(object_keypoint_similarity)(predicted, target, jnp.array([100.0]), sigmas)
    np.testing.assert_allclose(similarity, [(np.exp(-0.5) + 1) / 2], rtol=1e-6)


class Scaled(nn.Module):
    """The first K channels of an image, times one weight for each."""

    count: int = 2

    @nn.compact
    def __call__(self, x, train=False):
        count_pass(self, train)
        return x[..., : self.count] * self.param("scale", nn.initializers.ones, (self.count,))


def batch_by_hand():
    """Maps are the images: the exact bumps of keypoints (2.5, 1.5) and (1.5, 3.5), of cells (2, 1) and (1, 3).

    The second keypoint of the first example is not labeled; the last example is padding.
    """
    points = np.array([[[2.5, 1.5, 2], [1.5, 3.5, 0]], [[2.5, 1.5, 1], [1.5, 3.5, 2]], [[np.nan] * 3] * 2], np.float32)
    x, y = np.meshgrid(np.arange(5), np.arange(5))
    bumps = [np.exp(-((x - u) ** 2 + (y - v) ** 2) / 2) for u, v in ((2, 1), (1, 3))]
    images = np.repeat(np.stack(bumps, -1)[None], 3, 0).astype(np.float32)
    return {"image": images, "keypoints": points, "mask": np.array([1, 1, 0]), "index": np.arange(3)}


@pytest.mark.covers("DE-39")
def test_one_update_by_hand():
    """Maps are a times the targets Y: L = (2 (a_1 - 1)^2 mean Y_1^2 + (a_2 - 1)^2 mean Y_2^2) / 3, of three labels."""
    batch, technique = batch_by_hand(), learner(model=Scaled(), optimizer=told_sgd(0.3), sigma=1.0)
    state = jax.jit(technique.init)(jax.random.key(0), batch)
    state = state.replace(params={"scale": jnp.array([3.0, 2.0])}, model_state=PASSED)
    first, second = np.square(batch["image"][0], dtype=np.float64).mean((0, 1))
    both = jax.jit(lambda *batch: (technique.update(*batch), technique.evaluate(*batch)))
    (state, metrics), evaluated = both(state, batch)
    for one in (metrics, evaluated):
        assert one["loss"].compute() == pytest.approx((2 * 4 * first + second) / 3, rel=1e-5)
    assert passes(state.model_state) == 3 + 1
    expected = [3 - 0.3 * 2 * 2 * 2 * first / 3, 2 - 0.3 * 2 * second / 3]
    np.testing.assert_allclose(state.params["scale"], expected, rtol=1e-5)
    outputs = jax.jit(technique.predict)(state, batch)
    np.testing.assert_allclose(outputs["keypoints"][0], [[2.5, 1.5], [1.5, 3.5]], atol=1e-3)
    np.testing.assert_allclose(outputs["keypoint_scores"][0], expected, rtol=1e-5)


def test_training_alone_drops_and_every_function_prepares_the_images():
    """Cell (column 0, row 2) of 4 x 4 maps is ((0 + 1/2) 4, (2 + 1/2) 2) = (2, 5) in pixels of 8 rows by 16 columns."""
    calls, image = [], np.zeros((1, 8, 16, 3), np.float32)

    class Recorded(nn.Module):
        """Notes whether it trains and may drop, and the images that it gets; its maps have a half of the rows."""

        @nn.compact
        def __call__(self, x, train=False):
            calls.append((train, self.has_rng("dropout"), x.shape))
            self.variable("batch_stats", "seen", jnp.zeros, ())
            return x[:, ::2, ::4, :1] * self.param("scale", nn.initializers.ones, ())

    image[0, 4, 0, 0] = 0.7
    technique = learner(
        model=Recorded(), optimizer=optax.sgd(0.1), preprocess=lambda images: jnp.concatenate([images] * 2, -1)
    )
    batch = {"image": image, "keypoints": np.ones((1, 1, 3), np.float32), "index": np.arange(1)}
    state = jax.eval_shape(technique.init, jax.random.key(0), batch)
    after, _ = jax.eval_shape(technique.update, state, batch)
    jax.eval_shape(technique.evaluate, state, batch)
    jax.eval_shape(technique.loss, state.params, state, batch)
    assert calls[0][2] == (1, 8, 16, 6)
    assert calls[1:] == [(True, True, (1, 8, 16, 6)), *[(False, False, (1, 8, 16, 6))] * 2]
    assert set(after.model_state) == {"batch_stats"}
    state = state.replace(params={"scale": 1.0}, model_state={"batch_stats": {"seen": 0.0}})
    outputs = jax.jit(technique.predict)(state, batch)
    np.testing.assert_allclose(outputs["keypoints"], [[[2, 5]]], rtol=1e-6)
    np.testing.assert_allclose(outputs["keypoint_scores"], [[0.7]], rtol=1e-6)


class OneNumber(nn.Module):
    """A backbone whose stages are 1x1 maps of its first channel; the wanted one is doubled, and larger in training."""

    @nn.nowrap
    def features(self, x, train=False):
        return {"layer4": x[:, :1, :1, :1], "layer5": jnp.tile(x, (1, 2, 2, 1)) if train else 2 * x}


def test_maps_of_a_small_baseline_by_hand():
    """One cell v, enlarged by a kernel of sixteen ones, gives 2x2 cells of v: the inner part of the kernel.

    Enlarged again, a row of two cells v gives v, 2 v, 2 v, v. In evaluation the backbone doubles 1.5 to 3.
    """
    model, x = SimpleBaseline(OneNumber(), 2, 2, 1, "layer5"), jnp.array([[[[1.5]]], [[[-1.0]]]])
    ones = jnp.ones((4, 4, 1, 1))
    norm = {"scale": jnp.ones(1), "bias": jnp.zeros(1)}
    params = {f"deconv{i}": {"kernel": ones} for i in range(2)} | {f"deconv{i}_norm": norm for i in range(2)}
    params |= {"head": {"kernel": jnp.array([[[[1.0, -2.0]]]]), "bias": jnp.array([0.0, 1.0])}}
    statistics = {f"deconv{i}_norm": {"mean": jnp.zeros(1), "var": jnp.ones(1)} for i in range(2)}
    maps = jax.jit(model.apply)({"params": params, "batch_stats": statistics}, x)
    row = np.array([1, 2, 2, 1])
    first = 3 * np.outer(row, row)  # the second image is negative, and relu gives 0
    np.testing.assert_allclose(maps[0], np.stack([first, 1 - 2 * first], -1), rtol=1e-4)
    np.testing.assert_allclose(maps[1], np.broadcast_to([0.0, 1.0], (4, 4, 2)), atol=1e-6)
    larger, updated = jax.eval_shape(
        lambda: model.apply({"params": params, "batch_stats": statistics}, x, True, mutable=["batch_stats"])
    )
    assert_shape(larger, (2, 8, 8, 2))
    assert set(updated["batch_stats"]) == {"deconv0_norm", "deconv1_norm"}


@pytest.mark.slow
@pytest.mark.covers("DE-39")
def test_transposed_convolutions_double_the_last_map():
    backbone = ResNet(stages=(1, 1, 1, 1), block=BasicBlock, width=2)
    model, image = SimpleBaseline(backbone, 5, deconv_features=6), jax.ShapeDtypeStruct((1, 64, 32, 3), jnp.float32)
    maps, variables = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x), image)
    assert_shape(maps, (1, 16, 8, 5))  # stride 32, doubled three times
    assert_shape(variables["params"]["deconv2"]["kernel"], (4, 4, 6, 6))
