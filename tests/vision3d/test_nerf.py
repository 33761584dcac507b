"""Radiance fields: encoding and rendering by hand, gradients, a scene that is learned, rays that see the scene."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.scene_rays import mean_color_psnr, scene_rays
from dlcore.learner import State
from dlcore.vision3d import nerf
from dlcore.vision3d.nerf import PeakSignalToNoise, RadianceField, frequency_encoding, volume_render
from tests.wiring import assert_wiring


def test_encoding_by_hand():
    got = jax.jit(frequency_encoding, static_argnums=1)(jnp.array([[np.pi / 2, 0.0]]), 2)
    # x, then sin of pi/2, pi, 0, 0, then cos of the same
    np.testing.assert_allclose(got, [[np.pi / 2, 0, 1, 0, 0, 0, 0, -1, 1, 1]], atol=1e-6)
    chex.assert_shape(frequency_encoding(jnp.zeros((2, 4, 3)), 0), (2, 4, 3))


def test_volume_rendering_by_hand():
    # Samples at 1, 2, 3 with the end at 5: intervals 1, 1, 2. Densities log 2, log 4, 0: alpha 1/2, 3/4, 0.
    density, depths = jnp.array([np.log(2), np.log(4), 0]), jnp.array([1.0, 2, 3])
    color = jnp.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    render = jax.jit(volume_render, static_argnums=4)
    got = render(density, color, depths, 5.0, 0.8)
    np.testing.assert_allclose(got["weights"], [0.5, 0.5 * 0.75, 0], atol=1e-6)
    assert float(got["opacity"]) == pytest.approx(0.875)
    np.testing.assert_allclose(got["color"], np.array([0.5, 0.375, 0]) + 0.125 * 0.8, atol=1e-6)
    assert float(got["depth"]) == pytest.approx(0.5 * 1 + 0.375 * 2 + 0.125 * 5)
    # A wall behind the first sample stops the half of the light that is left, whatever its density.
    got = render(jnp.array([np.log(2), 1e9, 1.0]), color, depths, 5.0, 0.8)
    np.testing.assert_allclose(got["weights"], [0.5, 0.5, 0], atol=1e-6)


def test_an_interval_without_an_end_stops_all_light_or_none():
    """Samples at 1 and 2; the first of density log 2 stops half, the last, without an end, the rest if it has any."""
    depths, colors = jnp.array([1.0, 2]), jnp.array([[1.0], [3]])
    render = jax.jit(jax.vmap(lambda density: volume_render(density, colors, depths, jnp.inf, 0.8)))
    density = jnp.log(jnp.array([[2.0, 1], [2, 4], [1, 1]]))  # log 2 and 0, log 2 and log 4, 0 and 0
    got = render(density)
    np.testing.assert_allclose(got["opacity"], [0.5, 1, 0], rtol=1e-6)
    np.testing.assert_allclose(got["color"][:, 0], [0.5 + 0.5 * 0.8, 0.5 + 0.5 * 3, 0.8], rtol=1e-6)
    # Of what is hit alone: light that passes would end at infinity.
    np.testing.assert_allclose(got["depth"], [1, 0.5 * 1 + 0.5 * 2, np.inf], rtol=1e-6)

    # The color of the second, w + 3 (1 - w) with w = 1 - exp(-density), falls by 2 exp(-density) = 1; a denser end is
    # no darker.
    gradient = jax.jit(jax.grad(lambda density: render(density)["color"][1, 0]))(density)
    np.testing.assert_allclose(gradient, [[0, 0], [-1, 0], [0, 0]], rtol=1e-6)


def test_a_constant_density_absorbs_as_beer_and_lambert_say():
    depths = jnp.linspace(1, 4, 30, endpoint=False)
    got = jax.jit(volume_render)(jnp.full(30, 0.7), jnp.ones((30, 1)), depths, 4.0)
    assert float(got["opacity"]) == pytest.approx(1 - np.exp(-0.7 * 3), rel=1e-5)


class Wall(nn.Module):
    """Space before z = 1 is empty, behind it opaque, of one learned color; directions are ignored."""

    @nn.compact
    def __call__(self, points, directions):
        color = self.param("color", nn.initializers.constant(0.25), (3,))
        return jnp.where(points[..., 2] > 1, 1e3, 0.0), jnp.broadcast_to(color, points.shape)


RAYS = {
    "origin": np.zeros((2, 3), np.float32),
    "direction": np.array([[0, 0, 1], [0.6, 0, 0.8]], np.float32),
    "color": np.array([[0.75, 0.25, 0.25], [0.75, 0.25, 0.25]], np.float32),
    "index": np.arange(2),
}


def test_one_update_and_the_measures_by_hand():
    learner = nerf.learner(model=Wall(), optimizer=optax.sgd(0.75), near=0.5, far=2.5, num_samples=80)

    @jax.jit
    def run(rays):
        first = learner.init(jax.random.key(0), rays)
        state, _ = learner.update(first, rays)
        return learner.evaluate(first, rays), state.params["color"], learner.predict(state, rays)

    metrics, color, outputs = run(RAYS)
    # The error is 0.5 in one of three channels: 0.25 / 3, and 10 log10 12 dB
    assert float(metrics["mse"].compute()) == pytest.approx(0.25 / 3, rel=1e-4)
    assert metrics["psnr"].compute() == pytest.approx(10 * np.log10(12), rel=1e-4)
    # dL/dc = 2 (0.25 - 0.75) / 3 of red; 0.25 + 0.75 / 3 = 0.5
    np.testing.assert_allclose(color, [0.5, 0.25, 0.25], atol=1e-4)
    # z = 1 is at depth 1, and along the slanted ray at 1 / 0.8; bins are 2 / 80 wide
    np.testing.assert_allclose(outputs["depth"], [1, 1.25], atol=2 / 80)
    np.testing.assert_allclose(outputs["opacity"], 1, atol=1e-5)


class Opaque(nn.Module):
    """Of the color of the place, and opaque from the first sample on where w is 1; empty where it is 0."""

    @nn.compact
    def __call__(self, points, directions):
        return 100 * self.param("w", nn.initializers.ones, ()) * jnp.ones(points.shape[:-1]), points + 0 * directions


def test_samples_are_in_the_middle_of_their_bins_or_anywhere_in_them_in_training():
    """Four bins of width 1 from 1 to 5: the first sample is at 1.5, or at 1 + u; the last ray is padding."""
    learner = nerf.learner(model=Opaque(), optimizer=optax.sgd(1.0), near=1.0, far=5.0, num_samples=4, background=0.25)
    rng = np.random.default_rng(0)
    origin, direction, color = rng.normal(size=(3, 3, 3)).astype(np.float32)
    rays = {"origin": origin, "direction": direction, "color": color, "index": np.arange(3)}
    rays["mask"] = np.array([1, 1, 0])
    state = State(np.int32(3), jax.random.key(0), {"w": np.float32(1)}, None)

    @jax.jit
    def run(state):
        drawn = jax.random.uniform(jax.random.fold_in(state.rng, state.step), (3, 4))
        value, _ = learner.loss(state.params, state, rays)
        empty = learner.predict(state.replace(params={"w": 0.0}), rays)
        return drawn[:, :1], value, learner.evaluate(state, rays), learner.predict(state, rays), empty

    drawn, value, metrics, out, empty = run(state)
    np.testing.assert_allclose(out["color"], origin + 1.5 * direction, rtol=1e-5)
    np.testing.assert_allclose(out["depth"], [1.5] * 3, rtol=1e-5)
    np.testing.assert_allclose(out["opacity"], [1] * 3, rtol=1e-5)
    expected = np.square(origin + (1 + np.asarray(drawn)) * direction - color)[:2].mean()
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    middle = np.square(origin + 1.5 * direction - color)[:2].mean()
    assert metrics["loss"].compute() == metrics["mse"].compute() == pytest.approx(float(middle), rel=1e-5)
    for name, number in (("color", 0.25), ("depth", 5), ("opacity", 0)):
        np.testing.assert_allclose(empty[name], np.full(empty[name].shape, number))


def test_psnr_adds_up_over_batches_and_ignores_padding():
    one = PeakSignalToNoise.of(jnp.array([0.01, 9.0]), jnp.array([1, 0]))
    assert one.compute() == pytest.approx(20)
    two = jax.tree.map(lambda a, b: a + b, one, PeakSignalToNoise.of(jnp.array([0.19])))
    assert two.compute() == pytest.approx(10)  # the mean square is 0.1
    assert PeakSignalToNoise.of(jnp.zeros(2)).compute() == pytest.approx(100)
    assert PeakSignalToNoise.of(jnp.zeros(2), jnp.zeros(2)).compute() is None


def test_rays_see_the_scene():
    arrays = scene_rays(2, 3, 16).arrays
    chex.assert_shape(arrays["color"], (512, 3))
    assert arrays["color"].min() >= 0
    assert arrays["color"].max() <= 1
    np.testing.assert_allclose(np.linalg.norm(arrays["direction"], axis=1), 1, rtol=1e-5)
    points = arrays["origin"] + arrays["depth"][:, None] * arrays["direction"]
    assert points[:, 2].min() > -1e-4  # on the floor z = 0 or above it
    assert points[:, 2].max() < 1.01  # the cone's tip is at 1
    sphere = np.array([0.6, 0.5, 0.4])
    blue = arrays["color"][:, 2] > 1.5 * arrays["color"][:, 0]
    blue &= arrays["color"][:, 2] > 1.5 * arrays["color"][:, 1]
    assert blue.sum() > 5
    np.testing.assert_allclose(np.linalg.norm(points[blue] - sphere, axis=1), 0.4, atol=1e-3)
    np.testing.assert_array_equal(scene_rays(1, 3, 16).arrays["color"], arrays["color"][:256])


def test_the_views_are_what_they_were():
    """Means of what scene_rays rendered when the published runs were made, plain and by position."""
    arrays = scene_rays(2, 1, 8).arrays
    means = {name: np.stack([x.mean(0), (x.T * np.arange(len(x))).mean(-1)]) for name, x in arrays.items()}
    expected = {
        "origin": ([-0.978173, 0.677034, 4.087358], [-56.839862, 67.378488, 256.509917]),
        "direction": ([0.237731, -0.164544, -0.908312], [11.537071, -15.564118, -57.999857]),
        "color": ([0.501118, 0.458789, 0.450944], [31.983694, 28.451107, 27.558898]),
        "depth": (4.276678, 265.652921),
    }
    for name, mean in means.items():
        np.testing.assert_allclose(mean, expected[name], rtol=1e-4)


def test_the_baseline_by_hand():
    train = np.array([[0.0, 0, 0], [1, 1, 1]])
    assert mean_color_psnr(train, np.array([[0.4, 0.5, 0.6]])) == pytest.approx(-10 * np.log10(0.02 / 3))


@pytest.mark.weekly
def test_a_small_field_learns_a_view():
    arrays = scene_rays(4, 0, 8).arrays
    batch = {**{k: arrays[k] for k in ("origin", "direction", "color")}, "index": np.arange(256)}
    learner = nerf.learner(
        model=RadianceField(hidden=(32, 32)), optimizer=optax.adam(1e-2), near=2.2, far=7.5, num_samples=24
    )

    @jax.jit
    def run(batch):
        state = learner.init(jax.random.key(0), batch)
        state = jax.lax.fori_loop(0, 150, lambda _, s: learner.update(s, batch)[0], state)
        return learner.evaluate(state, batch)

    reached = run(batch)["psnr"].compute()
    assert reached > mean_color_psnr(arrays["color"], arrays["color"]) + 3


def test_bad_input_is_one_clear_line():
    with pytest.raises(ValueError, match=r"far=2\.0: not behind near=3\.0; allowed: above near"):
        nerf.learner(model=Wall(), optimizer=optax.sgd(1.0), near=3.0, far=2.0)


def test_the_wiring_of_radiance_field_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(RadianceField((4, 4), 2), (5, 3), (5, 3), [2.52504, 0.659055])


def test_all_rays_may_share_the_depths_of_their_samples():
    density, color = np.float32([[1, 2], [3, 0]]), np.float32([[[1], [2]], [[3], [4]]])
    depths = np.float32([1, 3])
    render = jax.jit(volume_render)
    chex.assert_trees_all_close(
        render(density, color, depths, 4.0), render(density, color, np.tile(depths, (2, 1)), 4.0), rtol=1e-6
    )
