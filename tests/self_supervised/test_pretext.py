"""Tasks that make their labels: what is drawn, that labels are theirs, and one learner that learns them."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.learner import ModelState, example_keys
from dlcore.self_supervised import audio_visual, exemplar, frame_order, jigsaw, pretext, relative_patch, rotation
from dlcore.self_supervised.audio_visual import AudioVisual, correspondence
from dlcore.self_supervised.jigsaw import order_count
from dlcore.self_supervised.pieces import check_grid, cut_pieces, distant_orders
from dlcore.self_supervised.pretext import PieceClassifier, pretext_learner
from tests.passes import PASSED, count_pass, passes

CLOSE = {"gap": 0, "jitter": 0, "by_piece": False}
NINE = np.arange(9.0, dtype=np.float32).reshape(3, 3, 1) / 9


class Backbone(nn.Module):
    """One dense layer on each pixel, and a convolution's sight of 2 x 2."""

    @nn.compact
    def features(self, x, train=False):
        return {"last": nn.relu(nn.Dense(12)(nn.relu(nn.Conv(12, (2, 2), padding="VALID")(x))))}


def drawn(task, example, count=200):
    keys = jax.random.split(jax.random.key(0), count)
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(lambda key: task(key, example)))(keys))


@pytest.mark.covers("SS-02")
def test_turns_by_hand():
    """0 1 2 / 3 4 5 / 6 7 8 turned once counterclockwise is 2 5 8 / 1 4 7 / 0 3 6."""
    pieces, label = drawn(rotation.rotation, {"image": jnp.asarray(NINE)})
    assert set(label) == {0, 1, 2, 3}
    want = {
        0: [0, 1, 2, 3, 4, 5, 6, 7, 8],
        1: [2, 5, 8, 1, 4, 7, 0, 3, 6],
        2: [8, 7, 6, 5, 4, 3, 2, 1, 0],
        3: [6, 3, 0, 7, 4, 1, 8, 5, 2],
    }
    for piece, turns in zip(pieces, label, strict=True):
        np.testing.assert_array_equal(piece[0, ..., 0].ravel() * 9, want[int(turns)])
    with pytest.raises(ValueError, match=r"image=\(3, 4, 1\): a quarter turn changes its shape; allowed: \[S, S, C\]"):
        rotation.rotation(jax.random.key(0), {"image": jnp.zeros((3, 4, 1))})


@pytest.mark.covers("SS-03")
def test_a_jigsaw_is_undone_by_its_label():
    """Cells of 2 x 2 pixels whose pixels all are the cell's number; without gaps the pieces are the cells."""
    image = np.kron(np.arange(4.0).reshape(2, 2), np.ones((2, 2)))[..., None] / 4
    pieces, label = drawn(
        jigsaw.jigsaw(gap=0, jitter=0, by_piece=False), {"image": jnp.asarray(image, jnp.float32)}, 400
    )
    orders = distant_orders(4, 24)
    assert set(label) == set(range(24))
    np.testing.assert_array_equal(pieces[:, :, 0, 0, 0] * 4, orders[label])
    np.testing.assert_array_equal(pieces.min((2, 3)), pieces.max((2, 3)))
    assert (order_count(2, None), order_count(3, None), order_count(3, 10)) == (24, 64, 10)


@pytest.mark.covers("SS-03")
def test_orders_lie_as_far_apart_as_they_can():
    """Of three pieces: first the identity, then the two turns, in which nothing stays; a swap leaves one."""
    np.testing.assert_array_equal(distant_orders(3, 3)[0], [0, 1, 2])
    assert {tuple(order) for order in distant_orders(3, 3)} == {(0, 1, 2), (1, 2, 0), (2, 0, 1)}
    orders = distant_orders(5, 5)  # a square in which nothing is twice in a row or column
    assert (np.sort(orders, 0) == np.arange(5)[:, None]).all()
    assert len(np.unique(distant_orders(5, 20), axis=0)) == 20
    # Each order has the largest least distance to those before it, and of equals the largest sum of distances.
    orders, rest = distant_orders(5, 10), np.array(list(itertools.permutations(range(5))))
    for i, order in enumerate(orders[1:], 1):
        distances = (rest[:, None] != orders[:i]).sum(-1)
        own = (order != orders[:i]).sum(-1)
        assert (own.min(), own.sum()) == max(zip(distances.min(1), distances.sum(1), strict=True))
    assert len(distant_orders(3, 2)) == 2


@pytest.mark.covers("SS-04")
def test_the_neighbor_is_where_its_label_says():
    """Pixel k of nine has the value k / 9; the middle is 4, and label 4 is the one to its right, 5."""
    pieces, label = drawn(relative_patch.relative_patch(gap=0, jitter=0, by_piece=False), {"image": jnp.asarray(NINE)})
    assert set(label) == set(range(8))
    np.testing.assert_allclose(pieces[:, 0, 0, 0, 0] * 9, 4, rtol=1e-6)
    np.testing.assert_allclose(pieces[:, 1, 0, 0, 0] * 9, np.array([0, 1, 2, 3, 5, 6, 7, 8])[label], rtol=1e-6)


@pytest.mark.covers("SS-03", "SS-04")
def test_gaps_and_jitter_keep_pieces_apart():
    """16 pixels in 2 cells, gap 2, jitter 1: pieces of 5 that begin at 1 or 2, and at 9 or 10: 2 to 4 pixels apart."""
    ramp = jnp.broadcast_to(jnp.arange(16.0)[None, :, None], (16, 16, 1))
    pieces = drawn(lambda key, x: cut_pieces(key, x, 2, gap=2, jitter=1), ramp)
    chex.assert_shape(pieces, (200, 4, 5, 5, 1))
    first, second = pieces[:, 0, 0, :, 0], pieces[:, 1, 0, :, 0]
    assert set(first[:, 0]) == {1, 2}
    assert set(second[:, 0]) == {9, 10}
    assert set(second[:, 0] - first[:, -1] - 1) == {2, 3, 4}  # 9 - 6 - 1 = 2 pixels between, up to 10 - 5 - 1 = 4


def test_pieces_of_their_own_brightness_are_made_alike():
    """By 1/2 + (x - mean) / 4 deviation, where 1e-4 is added to the variance."""
    image = np.random.default_rng(0).random((4, 4, 2), np.float32) * np.float32([0.05, 0.1, 1, 1])[:, None, None]
    images = np.stack([image, np.full((4, 4, 2), 0.7, np.float32)])
    pieces, flat = jax.jit(jax.vmap(lambda x: cut_pieces(jax.random.key(1), x, 2, by_piece=True)))(images)
    cells = image.reshape(2, 2, 2, 2, 2).swapaxes(1, 2).reshape(4, 4, 2)
    deviation = np.sqrt(cells.var(1, keepdims=True) + 1e-4)
    expected = 0.5 + (cells - cells.mean(1, keepdims=True)) / 4 / deviation
    np.testing.assert_allclose(pieces.reshape(4, 4, 2), expected, atol=1e-5)
    np.testing.assert_allclose(flat, 0.5, atol=1e-4)


def test_grids_that_do_not_fit_are_refused():
    assert check_grid(24, 3, 1, 1) == 6
    with pytest.raises(ValueError, match="grid=3: cells do not divide images of 16x16 pixels; allowed: divisors of 16"):
        check_grid(16, 3, 0, 0)
    with pytest.raises(
        ValueError, match=r"gap=4, jitter=2: leave pieces of 2 pixels in cells of 8; allowed: at least 4"
    ):
        check_grid(16, 2, 4, 2, smallest=4)
    with pytest.raises(ValueError, match=r"image=\(4, 6, 1\): not square"):
        cut_pieces(jax.random.key(0), jnp.zeros((4, 6, 1)), 2)


@pytest.mark.covers("SS-11")
def test_an_exemplars_class_is_its_own_whatever_the_order():
    task = exemplar.exemplar(lambda key, image: image + jax.random.uniform(key))
    rows = {"image": jnp.zeros((4, 2, 2, 1)), "exemplar": jnp.array([3, -1, 0, 2]), "index": jnp.arange(4)}
    keys = jax.random.split(jax.random.key(0), 4)
    views, label = jax.vmap(task)(keys, rows)
    np.testing.assert_array_equal(label, [3, -1, 0, 2])
    assert len(np.unique(views[:, 0, 0, 0, 0])) == 4


@pytest.mark.covers("SS-21")
def test_frames_in_order_have_the_middle_one_between():
    clip = jnp.broadcast_to(jnp.arange(8.0)[:, None, None, None], (8, 2, 2, 1))
    pieces, label = drawn(frame_order.frame_order(2), {"clip": clip})
    times = pieces[:, :, 0, 0, 0]
    between = (times[:, 1] - times[:, 0]) * (times[:, 2] - times[:, 1]) > 0
    np.testing.assert_array_equal(label, between)
    np.testing.assert_array_equal(np.sort(times, 1)[:, 1:] - np.sort(times, 1)[:, :-1], 2)
    assert 0.35 < label.mean() < 0.65
    assert set(times.min(1)) == {0, 1, 2, 3}  # the latest of 8 frames from which 2 and 4 later exist is frame 3
    five = jax.eval_shape(lambda key: frame_order.frame_order(2)(key, {"clip": clip[:5]})[0], jax.random.key(0))
    chex.assert_shape(five, (3, 2, 2, 1))


@pytest.mark.covers("SS-24")
def test_a_sound_that_is_displaced_is_the_clips_own():
    example = {"clip": jnp.zeros((6, 2, 2, 1)), "sound": jnp.arange(6.0)[:, None] + jnp.zeros((6, 3))}
    pieces, label = drawn(correspondence(2), example)
    late = (np.arange(6) - pieces["sound"][:, :, 0].astype(int)) % 6
    assert (late == late[:, :1]).all()
    np.testing.assert_array_equal(late[label == 1], 0)
    assert set(late[label == 0, 0]) == {2, 3, 4}  # at least two frames early or late
    half = jax.eval_shape(lambda key: correspondence(3)(key, example)[0]["sound"], jax.random.key(0))
    chex.assert_shape(half, (6, 3))


@pytest.mark.weekly
@pytest.mark.covers("SS-24")
def test_sound_and_frames_meet_in_their_products():
    """Without a sound, or turned around in time with its frames, the answer is what it must be."""
    model, key = AudioVisual(Backbone(), 8, 1), jax.random.key(0)
    frames, sound = jax.random.normal(key, (2, 4, 4, 4, 1)), jax.random.normal(key, (2, 4, 5))
    variables = model.init(key, {"frames": frames, "sound": sound})
    logits, features = model.apply(variables, {"frames": frames, "sound": sound})
    rolled, _ = model.apply(variables, {"frames": jnp.roll(frames, 1, 1), "sound": jnp.roll(sound, 1, 1)})
    np.testing.assert_allclose(rolled, logits, rtol=1e-4, atol=1e-6)
    apart, _ = model.apply(variables, {"frames": frames, "sound": jnp.roll(sound, 1, 1)})
    assert np.abs(apart - logits).max() > 1e-3
    chex.assert_shape(features, (2, 4, 12))


class Linear(nn.Module):
    """Logits of one layer that sees all numbers of all pieces, each 1 more in training."""

    num_classes: int

    @nn.compact
    def __call__(self, pieces, train=False):
        flat = jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in jax.tree.leaves(pieces)], -1)
        count_pass(self, train, draws=True)
        return nn.Dense(self.num_classes)(flat + train), flat


def lighten(key, image):
    return image + jax.random.uniform(key)


@pytest.mark.parametrize(
    ("technique", "task", "num_classes", "settings"),
    [
        pytest.param(rotation, rotation.rotation, 4, {}, marks=pytest.mark.covers("SS-02")),
        pytest.param(
            jigsaw,
            jigsaw.jigsaw,
            5,
            {"grid": 2, "orders": 5, **CLOSE},
            marks=[pytest.mark.slow, pytest.mark.covers("SS-03")],
        ),
        pytest.param(
            relative_patch,
            relative_patch.relative_patch,
            8,
            CLOSE,
            marks=[pytest.mark.slow, pytest.mark.covers("SS-04")],
        ),
        pytest.param(exemplar, exemplar.exemplar, 3, {"augment": lighten}, marks=pytest.mark.covers("SS-11")),
        pytest.param(
            frame_order,
            frame_order.frame_order,
            2,
            {"stride": 1},
            marks=[pytest.mark.slow, pytest.mark.covers("SS-21")],
        ),
        pytest.param(audio_visual, audio_visual.correspondence, 2, {"shift": 1}, marks=pytest.mark.covers("SS-24")),
    ],
    ids=lambda value: getattr(value, "__name__", "").removeprefix("dlcore.self_supervised.") or None,
)
def test_one_update_by_hand(technique, task, num_classes, settings):
    """Cross-entropy of the task's own label, of pieces drawn by each example's key, without padding and label -1."""
    learner = technique.learner(
        model=Linear(num_classes),
        optimizer=optax.sgd(0.1),
        prepare=lambda images: images / 2,
        normalize=lambda images: images - 0.1,
        **settings,
    )
    rng, side = np.random.default_rng(0), 2 if technique is jigsaw else 3
    rows = {
        "image": rng.random((5, side, side, 1), np.float32),
        "clip": rng.random((5, 3, 1, 1, 1), np.float32),
        "sound": rng.random((5, 3, 2), np.float32),
        "exemplar": np.array([2, -1, 0, 1, 1], np.int32),
        "index": np.arange(5, dtype=np.int32),
        "mask": np.array([1, 1, 1, 1, 0], np.float32),
    }
    draw = task if technique is rotation else task(**settings)

    def drawn(state):
        keys = example_keys(jax.random.fold_in(jax.random.fold_in(state.rng, state.step), 0), rows)
        pieces, label = jax.vmap(draw)(keys, {**rows, "image": rows["image"] / 2})
        parts = (pieces["frames"] - 0.1, pieces["sound"]) if isinstance(pieces, dict) else (pieces - 0.1,)
        return jnp.concatenate([part.reshape(5, -1) for part in parts], -1) + 1, label

    state = ModelState(np.int32(3), jax.random.key(0), None, None, PASSED)
    size = jax.eval_shape(drawn, state)[0].shape[-1]
    kernel, bias = (rng.normal(size=shape).astype(np.float32) for shape in ((size, num_classes), num_classes))
    params = {"Dense_0": {"kernel": kernel, "bias": bias}}
    state = state.replace(params=params, opt_state=optax.sgd(0.1).init(params))
    step = jax.jit(lambda state: (learner.update(state, rows)[0].replace(rng=None), drawn(state)))
    after, (x, label) = jax.device_get(step(state))
    assert passes(after.model_state) == 3 + 1
    after = after.params["Dense_0"]
    counts = rows["mask"] * (label >= 0)
    p = np.exp(x @ kernel + bias)
    error = (p / p.sum(-1, keepdims=True) - np.eye(num_classes)[label]) * counts[:, None] / counts.sum()
    np.testing.assert_allclose(after["kernel"], kernel - 0.1 * x.T @ error, atol=1e-5)
    np.testing.assert_allclose(after["bias"], bias - 0.1 * error.sum(0), atol=1e-5)


class Told(nn.Module):
    """Logits are w times the means of three pieces, whose features are their sums."""

    def setup(self):
        self.w = self.param("w", nn.initializers.ones, ())

    def __call__(self, pieces, train=False):
        return self.w * pieces.mean((2, 3, 4)), pieces.sum((2, 3))

    def features(self, x):
        return self.w * x.sum((1, 2))


def test_measures_and_predictions_of_a_task_by_hand(monkeypatch):
    """Three pieces: the image, twice and three times it; the second example has no class, and the last is padding."""

    def task(key, example):
        return jnp.stack([example["image"] * k for k in (1, 2, 3)]), example["truth"]

    learner = pretext_learner(
        Told(), optax.sgd(0.1), task, prepare=lambda x: x / 2, normalize=lambda x: x - 0.1, num_classes=3
    )
    x = np.random.default_rng(0).random((5, 2, 3, 1)).astype(np.float32)
    rows = {"image": x, "truth": np.array([2, -1, 0, 2, 1]), "index": np.arange(5), "mask": np.array([1, 1, 1, 1, 0])}
    state = ModelState(np.int32(3), jax.random.key(0), {"w": np.float32(-2)}, None, {})
    monkeypatch.setattr(pretext, "init_variables", lambda model, rng, images: {"params": {"w": jnp.float32(1)}})
    metrics, out = jax.jit(lambda s: (learner.evaluate(s, rows), learner.predict(s, rows)))(state)
    pieces = np.stack([x / 2 * k for k in (1, 2, 3)], 1) - 0.1
    logits = -2 * pieces.mean((2, 3, 4))  # the first piece is the darkest, and the guess
    losses = np.log(np.exp(logits).sum(1)) - np.take_along_axis(logits, rows["truth"][:, None], 1)[:, 0]
    assert metrics["loss"].compute() == pytest.approx(losses[[0, 2, 3]].mean(), rel=1e-5)
    assert metrics["accuracy"].compute() == pytest.approx(1 / 3)
    np.testing.assert_array_equal(out["guess"], np.zeros(5))
    np.testing.assert_array_equal(out["target"], rows["truth"])
    np.testing.assert_allclose(out["pieces"], pieces.sum((2, 3)), rtol=1e-5)
    whole = (x / 2 - 0.1).sum((1, 2))
    np.testing.assert_allclose(out["features"], -2 * whole, rtol=1e-5)
    np.testing.assert_allclose(out["untrained"], whole, rtol=1e-5)


def stripes(n):
    """Images that are dark at the top and bright at the bottom."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 1, 6)[None, :, None, None]
    return {"image": (ramp + 0.1 * rng.random((n, 6, 6, 1))).astype(np.float32), "index": np.arange(n, dtype=np.int32)}


@pytest.fixture(scope="module")
def trained():
    """(learner, state before, state after 150 steps, rows) of turned stripes; there is no label in the batch."""
    model = PieceClassifier(Backbone(), 4, hidden=16, side=2)
    learner, rows = pretext_learner(model, optax.adam(1e-2), rotation.rotation), stripes(64)
    first = state = jax.jit(learner.init)(jax.random.key(0), rows)
    update = jax.jit(learner.update)
    for _ in range(150):
        state, _ = update(state, rows)
    return learner, first, state, rows


@pytest.mark.weekly
@pytest.mark.covers("SS-01", "SS-02")
def test_a_network_learns_turns_without_any_label(trained):
    learner, first, state, rows = trained
    evaluate = jax.jit(learner.evaluate)
    before, after = (evaluate(s, rows)["accuracy"].compute() for s in (first, state))
    assert before < 0.6
    assert after > 0.95


@pytest.mark.weekly
def test_predict_says_what_evaluate_measures_and_shows_the_first_features(trained):
    learner, first, state, rows = trained
    out, start = jax.jit(learner.predict)(state, rows), jax.jit(learner.predict)(first, rows)
    accuracy = learner.evaluate(state, rows)["accuracy"].compute()
    assert (out["guess"] == out["target"]).mean() == pytest.approx(accuracy)
    np.testing.assert_allclose(out["untrained"], start["features"], rtol=1e-4, atol=1e-6)
    assert np.abs(out["features"] - start["features"]).max() > 1e-3
    chex.assert_shape(out["pieces"], (64, 1, 12))
    np.testing.assert_allclose(start["features"], start["untrained"], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_examples_without_a_class_take_no_part(trained):
    _, _, state, rows = trained
    model = PieceClassifier(Backbone(), 4, hidden=16, side=2)
    labels = jnp.where(rows["index"] < 10, rows["index"] % 4, -1)
    task = exemplar.exemplar(lambda key, image: image)
    learner = pretext_learner(model, optax.adam(1e-2), task)
    whole, few = {**rows, "exemplar": labels}, {k: v[:10] for k, v in {**rows, "exemplar": labels}.items()}
    evaluate = jax.jit(learner.evaluate)
    (a, b) = (evaluate(state, batch) for batch in (whole, few))
    assert a["loss"].compute() == pytest.approx(b["loss"].compute(), rel=1e-5)
    assert a["accuracy"].count == 10
    value, gradient = jax.jit(jax.value_and_grad(lambda p: learner.loss(p, state, whole)[0]))(state.params)
    assert value == pytest.approx(b["loss"].compute(), rel=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.covers("SS-04")
def test_a_relative_patch_keeps_its_gap():
    """18 pixels in 3 cells of 6: a gap of 2 leaves patches of 6 - 2 pixels that begin at 1, 7 and 13."""
    ramp = jnp.broadcast_to(jnp.arange(18.0)[None, :, None], (18, 18, 1))
    pieces, label = drawn(relative_patch.relative_patch(gap=2, jitter=0, by_piece=False), {"image": ramp}, 40)
    chex.assert_shape(pieces, (40, 2, 4, 4, 1))
    assert set(pieces[:, :, 0, 0, 0].ravel()) == {1, 7, 13}
    np.testing.assert_array_equal(pieces[:, 1, 0, 0, 0], np.array([1, 7, 13, 1, 13, 1, 7, 13])[label])


@pytest.mark.covers("SS-24")
def test_sound_and_frames_are_multiplied_by_hand():
    """relu(seen) relu(heard) of each frame, averaged over three frames, of which the backbone gives x and 2 x."""

    class Twice(nn.Module):
        def features(self, x, train=False):
            return {"first": x, "last": 2 * x}

    rng = np.random.default_rng(0)
    frames, sound = rng.random((2, 3, 2, 2, 1), np.float32), rng.random((2, 3, 4), np.float32)
    sizes = {"seen": (4, 5), "heard_hidden": (4, 5), "heard": (5, 5), "head": (5, 2)}
    params = {n: {"kernel": rng.normal(size=s), "bias": rng.normal(size=s[1])} for n, s in sizes.items()}

    def layer(name, x):
        return x @ params[name]["kernel"] + params[name]["bias"]

    seen = layer("seen", 2 * frames.reshape(2, 3, 4)).clip(0)
    heard = layer("heard", layer("heard_hidden", sound).clip(0)).clip(0)
    model, weights = AudioVisual(Twice(), 5, 2), {"params": jax.tree.map(np.float32, params)}
    logits, features = model.apply(weights, {"frames": frames, "sound": sound})
    np.testing.assert_allclose(logits, layer("head", (seen * heard).mean(1)), atol=1e-5)
    means = 2 * frames.mean((2, 3))
    np.testing.assert_allclose(features, means, rtol=1e-5)
    alone = model.apply(weights, frames[:, 0], method="features")
    np.testing.assert_allclose(alone, means[:, 0], rtol=1e-5)
    pieces = PieceClassifier(Twice(), 2).apply({}, frames[:, 0], method="features")
    np.testing.assert_allclose(pieces, means[:, 0], rtol=1e-5)


@pytest.mark.covers("SS-01")
def test_pieces_are_classified_by_what_is_at_each_of_their_places_together():
    """Two pieces of 4 x 6 pixels, of which the backbone gives x and 2 x: four means each, a hidden layer, logits."""

    class Twice(nn.Module):
        def features(self, x, train=False):
            return {"first": x, "last": 2 * x}

    rng = np.random.default_rng(0)
    pieces = rng.normal(size=(3, 2, 4, 6, 1)).astype(np.float32)
    sizes = {"hidden": (8, 5), "head": (5, 3)}
    params = {n: {"kernel": rng.normal(size=s), "bias": rng.normal(size=s[1])} for n, s in sizes.items()}
    means = 2 * pieces.reshape(3, 2, 2, 2, 2, 3).mean((3, 5)).reshape(3, 8)
    hidden = np.maximum(means @ params["hidden"]["kernel"] + params["hidden"]["bias"], 0)
    model = PieceClassifier(Twice(), 3, hidden=5, side=2)
    logits, features = jax.jit(model.apply)({"params": jax.tree.map(np.float32, params)}, pieces)
    np.testing.assert_allclose(logits, hidden @ params["head"]["kernel"] + params["head"]["bias"], atol=1e-5)
    np.testing.assert_allclose(features[..., 0], 2 * pieces.mean((2, 3, 4)), atol=1e-5)
    shapes = jax.eval_shape(PieceClassifier(Twice(), 3).init, jax.random.key(0), pieces)["params"]
    chex.assert_shape(shapes["head"]["kernel"], (2, 3))  # one mean of each piece, and no hidden layer


def test_the_stride_goes_to_the_order_of_frames(monkeypatch):
    asked = []
    monkeypatch.setattr(frame_order, "pretext_learner", lambda *arguments: asked.append(arguments) or "learner")
    monkeypatch.setattr(frame_order, "frame_order", lambda stride: f"stride {stride}")
    assert frame_order.learner(model=Linear(2), optimizer=None, prepare=len, normalize=max, stride=3) == "learner"
    assert asked == [(Linear(2), None, "stride 3", len, max, 2)]
