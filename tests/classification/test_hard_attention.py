"""Crops by hand, the score function against the exact gradient, and policies that find the informative patch."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.classification import hard_attention
from dlcore.classification.hard_attention import GlimpseNetwork, centers, crop, places_inside
from dlcore.learner import State, example_keys
from tests.wiring import assert_wiring

MODEL = GlimpseNetwork(2, grid=4, width=8)


def stripes(count, seed=0):
    """Scenes of 16 x 16, dark but for a patch of 4 x 4: rows (0) or columns (1) in one of 16 places, as bright."""
    rng = np.random.default_rng(seed)
    label, cell = rng.integers(0, 2, count), rng.integers(0, 16, count)
    image, box = np.zeros((count, 16, 16, 1), np.uint8), np.zeros((count, 4), np.float32)
    for i in range(count):
        y, x = 4 * (cell[i] // 4), 4 * (cell[i] % 4)
        patch = np.tile([[255], [0]], (2, 4))
        image[i, y : y + 4, x : x + 4, 0] = patch if label[i] == 0 else patch.T
        box[i] = x, y, x + 4, y + 4
    index = np.arange(count, dtype=np.int32)
    return {"image": image, "label": label.astype(np.int32), "box": box, "index": index}


def toy(attention="hard", tx=None, **settings):
    learner = hard_attention.learner(
        model=MODEL, optimizer=tx or optax.adam(1e-2), attention=attention, **{"glimpse_size": 4, **settings}
    )
    return learner._replace(**{n: jax.jit(getattr(learner, n)) for n in ("init", "update", "evaluate", "predict")})


def started(learner, batch, seed=0):
    """A state whose heads are not zero."""
    state = learner.init(jax.random.key(seed), batch)
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape).astype(np.float32), state.params)
    return state.replace(params=params)


def test_a_crop_is_a_slice():
    scene = jnp.arange(2.0 * 6 * 8).reshape(2, 6, 8, 1)
    glimpse = jax.jit(crop, static_argnums=2)(scene, jnp.array([[4.5, 2.5], [0.5, 5.5]]), 3)
    np.testing.assert_allclose(glimpse[0, ..., 0], scene[0, 1:4, 3:6, 0], atol=1e-4)
    corner = np.zeros((3, 3))
    corner[:2, 1:] = scene[1, 4:6, :2, 0]  # the rest lies outside
    np.testing.assert_allclose(glimpse[1, ..., 0], corner, atol=1e-4)


def test_places_and_those_in_a_box():
    np.testing.assert_allclose(centers(2, (4, 8)), [[2, 1], [6, 1], [2, 3], [6, 3]])
    inside = places_inside(2, (4, 8), jnp.array([[0.0, 0, 8, 2], [6, 0, 8, 4], [0, 0, 6, 4]]))
    assert inside.tolist() == [[True, True, False, False], [False, True, False, True], [True, False, True, False]]


@pytest.mark.weekly
@pytest.mark.covers("AT-30")
def test_the_score_function_estimates_the_gradient_of_the_expected_reward():
    """Of one scene, E[r] = sum_l a_l r_l over 16 places; 4,000 draws estimate its slope, and that of the entropy."""
    batch = jax.tree.map(lambda a: a[:1], stripes(1))
    learner = toy(tx=optax.sgd(1.0), num_glimpses=4000, entropy_weight=0.05)
    state = started(learner, batch, seed=2)  # the patch alone is read right
    scene = batch["image"] / 255.0
    many = jnp.repeat(scene, 16, 0)
    logits = MODEL.apply({"params": state.params}, crop(many, centers(4, (16, 16)), 4), method="classify")
    reward = logits.argmax(-1) == batch["label"][0]
    assert 0 < reward.sum() < 16

    def expected(params):
        log_a = jax.nn.log_softmax(MODEL.apply({"params": params}, scene, method="locate"))[0]
        return (jnp.exp(log_a) * (reward - 0.05 * log_a)).sum()

    slope = jax.grad(expected)(state.params)
    after, _ = learner.update(state, batch)
    for name in ("place", "look_0", "look_1"):
        change = np.concatenate(
            [np.ravel(a - b) for a, b in zip(*(jax.tree.leaves(s.params[name]) for s in (after, state)), strict=True)]
        )
        wanted = np.concatenate([np.ravel(g) for g in jax.tree.leaves(slope[name])])
        np.testing.assert_allclose(change, wanted, atol=0.1 * np.abs(wanted).max() + 1e-6)


class FourPlaces(nn.Module):
    """Logits of four places, whatever the scene, and of two classes: (read * mean of the glimpse, 1 / 2)."""

    grid: int = 2
    num_classes: int = 2

    def setup(self):
        self.place = self.param("place", nn.initializers.zeros, (4,))
        self.read = self.param("read", nn.initializers.ones, ())

    def locate(self, scene):
        return jnp.broadcast_to(self.place, (len(scene), 4))

    def classify(self, glimpse):
        x = self.read * glimpse.mean((1, 2, 3))
        return jnp.stack([x, jnp.full_like(x, 0.5)], -1)


@pytest.mark.covers("AT-30")
@pytest.mark.parametrize("attention", ["hard", "soft"])
def test_one_update_by_hand(attention):
    """Soft attention learns through the mean glimpse, and hard attention by the rewards of its draws alone.

    Hard attention ascends (reward - mean reward of the other draws) log pi and 0.3 of the entropy.
    """
    levels = np.array([[255, 0], [51, 102]], np.uint8)
    rows = {"image": levels.repeat(4, 0).repeat(4, 1)[None, ..., None], "label": np.zeros(1, np.int32)}
    rows["index"] = np.zeros(1, np.int32)
    bright, tx = levels.ravel() / 255, optax.sgd(1.0)
    params = {"place": np.array([0.5, 0.0, -0.5, 1.0], np.float32), "read": np.float32(1)}
    learner = hard_attention.learner(
        model=FourPlaces(), optimizer=tx, attention=attention, glimpse_size=4, num_glimpses=8, entropy_weight=0.3
    )
    state = State(np.int32(0), jax.random.key(0), params, tx.init(params))

    @jax.jit
    def step(state):
        keys = example_keys(jax.random.fold_in(state.rng, state.step), rows)
        loss = learner.loss(params, state, rows)[0] if learner.loss else None
        return learner.update(state, rows)[0].params, jax.random.categorical(keys[0], params["place"], shape=(8,)), loss

    after, drawn, loss = jax.device_get(step(state))
    p = np.exp(params["place"]) / np.exp(params["place"]).sum()
    if attention == "hard":
        seen = bright[drawn]
        reward = (seen > 0.5).astype(float)  # the first place alone is read as class 0
        assert 0 < reward.sum() < 8
        advantage = reward - (reward.sum() - reward) / 7
        entropy = -(p * np.log(p)).sum()
        # d entropy / d logit = -p (log p + entropy)
        place = -(advantage[:, None] * (np.eye(4)[drawn] - p)).mean(0) + 0.3 * p * (np.log(p) + entropy)
        read = ((1 / (1 + np.exp(0.5 - seen)) - 1) * seen).mean()
    else:
        mean = p @ bright
        error = 1 / (1 + np.exp(0.5 - mean)) - 1  # of the first logit
        place, read = error * p * (bright - mean), error * mean
        assert loss == pytest.approx(-np.log(1 + error), rel=1e-5)
    np.testing.assert_allclose(after["place"], params["place"] - place, atol=1e-5)
    np.testing.assert_allclose(after["read"], params["read"] - read, atol=1e-5)


@pytest.mark.covers("AT-30")
def test_each_attention_looks_at_its_place():
    """Of four places of brightness 1, 0, .2 and .4 hard attention sees the last, which is the likeliest.

    Soft attention sees the mean, and random attention any place with the same chance. The box holds the lower two
    places. The second scene, all 1, is padding.
    """
    levels = np.array([[255, 0], [51, 102]], np.uint8)
    image = np.stack([levels.repeat(4, 0).repeat(4, 1), np.full((8, 8), 255, np.uint8)])[..., None]
    rows = {"image": image, "label": np.array([0, 0]), "index": np.arange(2), "mask": np.array([1, 0])}
    rows["box"] = np.float32([[0, 4, 8, 8]] * 2)
    params = {"place": np.array([0.5, 0.0, -0.5, 1.0], np.float32), "read": np.float32(1)}
    state = State(np.int32(0), jax.random.key(0), params, None)
    learners = {
        name: hard_attention.learner(model=FourPlaces(), optimizer=None, attention=name, glimpse_size=4)
        for name in ("hard", "soft", "random")
    }

    @jax.jit
    def run():
        measured = {name: learners[name].evaluate(state, rows) for name in ("soft", "random")}
        return measured, {name: one.predict(state, rows) for name, one in learners.items()}

    p, bright = np.exp(params["place"]) / np.exp(params["place"]).sum(), np.array([1, 0, 0.2, 0.4])
    measured, outputs = jax.device_get(run())
    for name, out in outputs.items():
        policy = np.full(4, 0.25) if name == "random" else p
        np.testing.assert_allclose(out["attention"], [policy] * 2, rtol=1e-5)
        looked = np.asarray(out["looked"])[0]
        if name == "hard":
            np.testing.assert_array_equal(looked, [0, 0, 0, 1])
        elif name == "soft":
            np.testing.assert_allclose(looked, p, rtol=1e-5)
        else:
            assert sorted(looked) == [0, 0, 0, 1]
        seen = looked @ bright
        np.testing.assert_allclose(out["glimpse"][0], np.full((4, 4, 1), seen), atol=1e-4)
        first = 1 / (1 + np.exp(0.5 - seen))
        np.testing.assert_allclose(out["probabilities"][0], [first, 1 - first], atol=1e-4)
        if metrics := measured.get(name):
            assert metrics["loss"].compute() == pytest.approx(-np.log(first), abs=1e-3)
            assert metrics["accuracy"].compute() == (seen > 0.5)
            assert metrics["looks"].compute() == pytest.approx(looked[2:].sum(), rel=1e-5)


@pytest.mark.weekly
@pytest.mark.covers("AT-30")
def test_a_soft_glimpse_is_the_mean_of_all():
    batch = stripes(3)
    learner = toy("soft")
    state = started(learner, batch)
    out = learner.predict(state, batch)
    np.testing.assert_allclose(out["attention"].sum(-1), 1, rtol=1e-5)
    scene = batch["image"] / np.float32(255)
    crops = jnp.stack([crop(scene, jnp.tile(c, (3, 1)), 4) for c in centers(4, (16, 16))], 1)
    np.testing.assert_allclose(out["glimpse"], jnp.einsum("bl,blijc->bijc", out["attention"], crops), atol=1e-5)
    inside = places_inside(4, (16, 16), batch["box"])
    looks = learner.evaluate(state, batch)["looks"].compute()
    assert looks == pytest.approx(float((out["attention"] * inside).sum(-1).mean()), rel=1e-5)


@pytest.mark.weekly
@pytest.mark.covers("AT-30")
@pytest.mark.parametrize("attention", ["hard", "soft", "random"])
def test_attention_learns_to_look_at_the_patch_that_tells(attention):
    """The coarse view shows where the patch is, not which; a sixteenth of the places is on it."""
    batch, test = stripes(64), stripes(256, seed=1)
    learner = toy(attention)
    state = learner.init(jax.random.key(0), batch)
    for _ in range(120):
        state, _ = learner.update(state, batch)
    metrics = {name: m.compute() for name, m in learner.evaluate(state, test).items()}
    if attention == "random":
        assert metrics["looks"] == pytest.approx(1 / 16, abs=0.05)
        assert metrics["accuracy"] < 0.7
    else:
        assert metrics["looks"] > 0.9
        assert metrics["accuracy"] > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["hard", "random"])
def test_a_glimpse_in_use_depends_on_its_example_alone(attention):
    batch = stripes(6)
    learner = toy(attention)
    state = started(learner, batch)
    together = learner.predict(state, batch)
    alone = learner.predict(state, jax.tree.map(lambda a: a[4:5], batch))
    np.testing.assert_array_equal(together["looked"][4], alone["looked"][0])
    np.testing.assert_array_equal(together["looked"].sum(-1), 1)
    best = together["attention"].argmax(-1) == together["looked"].argmax(-1)
    assert best.all() == (attention == "hard")


@pytest.mark.slow
@pytest.mark.weekly(only=["random"])
@pytest.mark.parametrize("attention", ["hard", "soft", "random"])
def test_padding_changes_nothing(attention):
    batch = stripes(4)
    learner = toy(attention, optax.sgd(0.5))
    state = started(learner, batch)
    padded = {**batch, "mask": np.array([1, 1, 0, 1], np.float32)}
    other = {**padded, "image": padded["image"].copy(), "label": padded["label"].copy()}
    other["image"][2], other["label"][2] = 99, 1 - other["label"][2]
    one, two = (learner.update(state, rows)[0].params for rows in (padded, other))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), one, two)
    measured = [learner.evaluate(state, rows)["loss"].compute() for rows in (padded, other)]
    assert measured[0] == pytest.approx(measured[1])


def test_the_wiring_of_the_policy_and_the_classifier_is_as_it_was():
    """A regression: the numbers hold the code as it was."""
    assert_wiring(GlimpseNetwork(3, grid=2, width=3), (2, 4, 8, 2), (2, 4, 8, 2), [14.0109, 6.2597])


def test_a_learner_starts_with_heads_of_zeros_for_glimpses_of_its_size():
    """A glimpse of 8 x 8 is 2 x 2 behind two poolings, of 2 x 4 channels: 32 numbers to the dense layer's 16."""
    learner = hard_attention.learner(
        model=GlimpseNetwork(3, grid=2, width=4), optimizer=optax.sgd(0.1), attention="soft", glimpse_size=8
    )
    scene = np.zeros((1, 12, 12, 1), np.uint8)
    params = jax.eval_shape(learner.init, jax.random.key(0), {"image": scene}).params
    chex.assert_shape(params["dense"]["kernel"], (32, 16))
    chex.assert_shape(params["head"]["kernel"], (16, 3))
    assert learner.classes(None, {}) == {"label": 3}


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"size=\(4, 8, 1\): no sides of a scene"):
        centers(2, (4, 8, 1))
