"""The retina and one update by hand, each policy's locations, and what bad input gets."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.classification import recurrent_attention
from dlcore.classification.recurrent_attention import FIXED_LOCATIONS, RecurrentAttention, retina
from dlcore.learner import State, example_keys
from tests.wiring import assert_wiring

STD = 0.25


class Reader(nn.Module):
    """A carry that sums glimpses' means; logits (read * carry, 1); a mean location and a baseline of their own."""

    num_classes: int = 2

    def initial_carry(self, batch_size):
        return jnp.zeros(batch_size)

    @nn.compact
    def __call__(self, carry, glimpse, location):
        read, mean, baseline = (
            self.param(name, nn.initializers.ones, shape)
            for name, shape in (("read", ()), ("mean", (2,)), ("base", ()))
        )
        carry = carry + glimpse.mean((1, 2, 3, 4))
        logits = jnp.stack([read * carry, jnp.ones_like(carry)], -1)
        batch = carry.shape[0]
        return carry, logits, jnp.broadcast_to(mean, (batch, 2)), jnp.broadcast_to(baseline, (batch,))


def halves(count):
    """Scenes of 4 x 4 pixels whose right half is white, of class 0."""
    image = np.zeros((count, 4, 4, 1), np.uint8)
    image[:, :, 2:] = 255
    return {"image": image, "label": np.zeros(count, np.int32), "index": np.arange(count, dtype=np.int32)}


def test_the_retina_is_a_patch_and_a_coarser_one_about_the_same_center():
    scene = np.arange(64.0, dtype=np.float32).reshape(1, 8, 8, 1)
    patches = jax.jit(retina, static_argnums=(2, 3))(scene, jnp.array([[0.0, 0.5]]), 2, 2)[0, ..., 0]
    # The center (0, 0.5) is x = 4, y = 6 pixels: rows 5 and 6, columns 3 and 4; then rows 4 to 7, columns 2 to 5, in
    # blocks of 2 x 2 pixels.
    image = scene[0, ..., 0]
    np.testing.assert_allclose(patches[0], image[5:7, 3:5], atol=1e-4)
    np.testing.assert_allclose(patches[1], image[4:8, 2:6].reshape(2, 2, 2, 2).mean((1, 3)), atol=1e-4)


@pytest.mark.covers("SQ-21")
def test_one_update_by_hand():
    """Two glimpses: the class losses reach `read`, the reward reaches `mean`, the return reaches `base`."""
    batch, tx = halves(8), optax.sgd(1.0)
    params = {"read": np.float32(1.1), "mean": np.array([0.0, 0.0], np.float32), "base": np.float32(0.2)}
    learner = recurrent_attention.learner(
        model=Reader(), optimizer=tx, num_glimpses=2, glimpse_size=2, num_scales=1, location_std=STD
    )
    state = State(np.int32(0), jax.random.key(1), params, tx.init(params))

    @jax.jit
    def step(state):
        keys = example_keys(jax.random.fold_in(state.rng, state.step), batch)
        noise = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, 0), (2, 2)))(keys)[:, 0]
        after, metrics = learner.update(state, batch)
        return after.params, STD * noise, metrics

    after, location, metrics = jax.device_get(step(state))
    # The first glimpse, at the center, is half white: c_1 = 0.5. The second one's center is 2 + 2 l pixels, and its two
    # columns (rows) are half a pixel to each side. Bilinear sampling interpolates between the centers of pixels, 0.5 to
    # 3.5, and the zeros outside: np.interp with the edges' zeros at -0.5 and 4.5.
    at = 2 + 2 * location[:, :, None] + [-0.5, 0.5]  # [B, (x, y), 2]
    centers = np.arange(-0.5, 5)
    columns = np.interp(at[:, 0], centers, [0, 0, 0, 1, 1, 0]).mean(1)
    second = columns * np.interp(at[:, 1], centers, [0, 1, 1, 1, 1, 0]).mean(1)
    carry = np.stack([np.full(8, 0.5), 0.5 + second])  # [T, B]
    p = 1 / (1 + np.exp(1 - 1.1 * carry))  # class 0 against the logit 1
    reward = (1.1 * carry[1] > 1).astype(float)
    assert 0 < reward.sum() < 8
    advantage = reward - 0.2
    np.testing.assert_allclose(metrics["accuracy"].total / 8, reward.mean(), atol=1e-6)
    np.testing.assert_allclose(after["read"], 1.1 - ((p - 1) * carry).mean(), atol=1e-4)
    np.testing.assert_allclose(after["mean"], (advantage[:, None] * location / STD**2).mean(0), atol=1e-4)
    np.testing.assert_allclose(after["base"], 0.2 + 2 * advantage.mean(), atol=1e-5)


@pytest.mark.covers("SQ-21")
def test_a_location_is_credited_with_all_right_answers_from_its_glimpse_on():
    """Every glimpse is read as class 1: the two chosen locations have the returns 2 and 1, of label 0 none."""
    label = np.array([1, 0, 1, 1], np.int32)
    batch, tx = halves(4) | {"label": label}, optax.sgd(1.0)
    params = {"read": np.float32(0), "mean": np.array([0.1, -0.2], np.float32), "base": np.float32(0.3)}
    learner = recurrent_attention.learner(
        model=Reader(), optimizer=tx, num_glimpses=3, glimpse_size=2, num_scales=1, location_std=STD, policy_weight=0.5
    )
    state = State(np.int32(0), jax.random.key(1), params, tx.init(params))

    @jax.jit
    def step(state):
        keys = example_keys(jax.random.fold_in(state.rng, state.step), batch)
        noise = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, 0), (3, 2)))(keys)
        return learner.update(state, batch)[0].params, noise

    after, noise = jax.device_get(step(state))
    advantage = label[:, None] * np.array([2, 1]) - 0.3  # [B, T - 1]
    np.testing.assert_allclose(after["base"], 0.3 + 2 * advantage.sum(1).mean(), rtol=1e-5)
    moved = 0.5 * (advantage[..., None] * noise[:, :2] / STD).sum(1).mean(0)
    np.testing.assert_allclose(after["mean"], params["mean"] + moved, rtol=1e-4, atol=1e-5)


def corners(count):
    """Dark scenes of 8 x 8 pixels; class 0 has one white pixel, in the lower right corner."""
    label = np.arange(count, dtype=np.int32) % 2
    image = np.zeros((count, 8, 8, 1), np.uint8)
    image[:, 7, 7, 0] = 255 * (1 - label)
    return {"image": image, "label": label, "index": np.arange(count, dtype=np.int32)}


@pytest.mark.slow
@pytest.mark.covers("SQ-21")
def test_a_learned_policy_finds_what_the_first_glimpse_and_the_fixed_policy_miss():
    """The corner's pixel is in no fixed patch: a quadrant's center is x = 6, and its patch has the columns 5 and 6."""
    batch, tx = corners(64), optax.adam(0.05)
    learned, fixed = (
        recurrent_attention.learner(
            model=Reader(), optimizer=tx, policy=policy, glimpse_size=2, num_scales=1, location_std=STD
        )
        for policy in ("learned", "fixed")
    )
    params = {"read": np.float32(6), "mean": np.array([0.5, 0.5], np.float32), "base": np.float32(1.5)}
    state = State(jnp.int32(0), jax.random.key(0), params, tx.init(params))

    @jax.jit
    def run(state):
        state = jax.lax.scan(lambda s, _: (learned.update(s, batch)[0], None), state, None, 60)[0]
        return learned.evaluate(state, batch), fixed.evaluate(state, batch)

    metrics, fixed_metrics = jax.device_get(run(state))
    # Class 1 is always right, class 0 once the pixel is seen.
    assert metrics["accuracy_1"].compute() == 0.5
    assert metrics["accuracy_4"].compute() == 1.0
    assert fixed_metrics["accuracy_4"].compute() == 0.5


@pytest.mark.parametrize("policy", ["learned", "fixed", "random"])
def test_locations_start_at_the_center_and_follow_the_policy(policy):
    batch = halves(2)
    learner = recurrent_attention.learner(
        model=Reader(), optimizer=optax.sgd(1.0), policy=policy, num_glimpses=6, glimpse_size=2, num_scales=1
    )
    mean = np.array([0.25, -0.5], np.float32)
    state = State(np.int32(0), jax.random.key(0), {"read": 1.0, "mean": mean, "base": 0.0}, ())
    outputs = jax.jit(learner.predict)(state, batch)
    chex.assert_shape(outputs["glimpses"], (2, 6, 1, 2, 2, 1))
    chex.assert_shape(outputs["probabilities"], (2, 6, 2))
    locations = np.asarray(outputs["locations"])
    np.testing.assert_array_equal(locations[:, 0], 0)
    if policy == "learned":  # without noise: the mean
        np.testing.assert_allclose(locations[:, 1:], np.broadcast_to(mean, (2, 5, 2)))
    if policy == "fixed":  # the quadrants, and the center again
        np.testing.assert_allclose(locations[1], [*FIXED_LOCATIONS, FIXED_LOCATIONS[0]])
    if policy == "random":
        assert np.abs(locations).max() <= 1
        assert len(np.unique(locations[:, 1:])) == 20


def test_the_network_has_the_shapes_it_states():
    model = RecurrentAttention(3, glimpse_features=2, hidden_size=5)
    carry, glimpse = model.initial_carry(4), np.zeros((4, 2, 3, 3, 1), np.float32)
    outputs = jax.eval_shape(model.init_with_output, jax.random.key(0), carry, glimpse, np.zeros((4, 2), np.float32))[0]
    assert [leaf.shape for leaf in outputs] == [(4, 5), (4, 3), (4, 2), (4,)]
    assert_wiring(model, (4, 5), glimpse.shape, (4, 2), [7.00642, -0.904695])  # a regression


def test_the_policy_and_the_baseline_give_no_gradient_to_the_core():
    model, rng = RecurrentAttention(3, glimpse_features=2, hidden_size=5), np.random.default_rng(0)
    inputs = [rng.normal(size=size).astype(np.float32) for size in ((4, 5), (4, 1, 2, 2, 1), (4, 2))]
    params = jax.tree.map(
        lambda s: rng.normal(size=s.shape).astype(np.float32), jax.eval_shape(model.init, jax.random.key(0), *inputs)
    )

    def total(params, outputs):
        return sum(x.sum() for x in model.apply(params, *inputs)[outputs])

    grad = jax.jit(lambda p: [jax.grad(total)(p, part)["params"] for part in (slice(2, 4), slice(1, 2))])
    for name, is_moved in (("core", (False, True)), ("policy", (True, False)), ("baseline", (True, False))):
        assert tuple(bool(np.any(part[name]["kernel"])) for part in grad(params)) == is_moved, name


def test_a_glimpse_that_does_not_fit_the_scene_is_refused():
    learner = recurrent_attention.learner(model=Reader(), optimizer=optax.sgd(1.0), glimpse_size=8, num_scales=1)
    for height, width in ((4, 8), (8, 4)):
        scenes = halves(1) | {"image": np.zeros((1, height, width, 1), np.uint8)}
        with pytest.raises(ValueError, match=f"glimpse_size=8: larger than the scene of {height} x {width}; allowed"):
            learner.init(jax.random.key(0), scenes)


@pytest.mark.covers("SQ-21")
@pytest.mark.parametrize(("mean", "looks"), [((0.5, 0.5), 1), ((-0.5, 0.5), 0.5), ((-0.5, -0.5), 0)])
def test_looks_are_the_locations_inside_the_box(mean, looks):
    """Scenes of 4 x 4 pixels: (.5, .5) is pixel (3, 3), in both boxes; (-.5, .5) is (1, 3), in that which is wide.

    The location's spread is too small to leave the pixel."""
    batch = halves(2) | {"box": np.array([[2, 2, 4, 3.5], [0, 2, 3.5, 4]], np.float32)}
    learner = recurrent_attention.learner(
        model=Reader(), optimizer=optax.sgd(1.0), num_glimpses=2, glimpse_size=2, num_scales=1, location_std=0.001
    )
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    state = state.replace(params=state.params | {"mean": np.array(mean, np.float32)})
    assert jax.jit(learner.evaluate)(state, batch)["looks"].compute() == looks


def test_labels_are_checked_against_the_reader_s_classes():
    learner = recurrent_attention.learner(model=Reader(), optimizer=optax.sgd(0.1))
    assert learner.classes(None, {}) == {"label": Reader.num_classes}
