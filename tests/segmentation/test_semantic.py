"""The learner of semantic segmentation: per-pixel cross-entropy, void, weights, the auxiliary head, devices."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.augment import random_flip_example
from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.learner import Learner, ModelState
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.losses.segmentation import multiclass_dice_loss, multiclass_tversky_loss
from dlcore.nn import BatchNorm, Conv
from dlcore.ops.replica import REPLICA
from dlcore.run import Placement, evaluate, fit, make_mesh
from dlcore.segmentation import mask_queries, semantic, volumes
from tests.derivatives import slopes
from tests.passes import PASSED, count_pass, passes

CLASSES = 3


class Small(nn.Module):
    """One convolution and batch norm, with an auxiliary head."""

    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x, train=False):
        x = Conv(4, (3, 3), name="conv")(x)
        x = nn.relu(BatchNorm(not train, axis_name=self.axis_name, name="norm")(x))
        return {"out": Conv(CLASSES, (1, 1), name="out")(x), "aux": Conv(CLASSES, (1, 1), name="aux")(x)}


def source(n=6):
    rng = np.random.default_rng(0)
    semantic = rng.integers(0, CLASSES, (n, 4, 6)).astype(np.uint8)
    semantic[:, :, 4] = np.where(np.arange(n)[:, None] % 2, 255, semantic[:, :, 4])
    if n > 1:
        semantic[1] = 255  # an image of void alone
    return Source({"image": rng.normal(size=(n, 4, 6, 3)).astype(np.float32), "semantic": semantic}, n, name="maps")


def build(**fields) -> Learner:
    return semantic.learner(model=Small(), optimizer=optax.sgd(0.1), **fields)


def jitted(**fields):
    learner = build(**fields)
    return learner._replace(
        init=jax.jit(learner.init),
        update=jax.jit(learner.update),
        evaluate=jax.jit(learner.evaluate),
        predict=jax.jit(learner.predict),
        loss=jax.jit(learner.loss),
    )


@pytest.fixture(scope="module")
def learner():
    return jitted()


@pytest.fixture(scope="module")
def state(learner):
    return learner.init(jax.random.key(0), source()[:])


def logits_of(state, rows):
    return Small().apply({"params": state.params, **state.model_state}, rows["image"])


@pytest.mark.weekly
@pytest.mark.covers("SG-12")
def test_it_is_classification_of_the_pixels_that_count(learner, state):
    rows = source()[:]
    value, metrics = learner.loss(state.params, state, rows)
    logits, labels = np.asarray(logits_of(state, rows)["out"]).reshape(-1, CLASSES), rows["semantic"].reshape(-1)
    keep = labels != 255
    pixels = softmax_cross_entropy_loss(jnp.asarray(logits[keep]), jnp.asarray(labels[keep].astype(np.int32)))
    assert float(value) == pytest.approx(float(pixels.mean()), rel=1e-6)
    assert metrics["loss"].compute() == pytest.approx(float(pixels.mean()), rel=1e-6)
    assert int(metrics["loss"].count) == keep.sum()
    assert metrics["accuracy"].compute() == pytest.approx((logits[keep].argmax(-1) == labels[keep]).mean())
    # By images the mean would be another: they have 24, 0, 24, 20, ... pixels that count.
    by_image = [
        float(softmax_cross_entropy_loss(jnp.asarray(s[y != 255]), jnp.asarray(y[y != 255].astype(np.int32))).mean())
        for s, y in zip(np.asarray(logits_of(state, rows)["out"]), rows["semantic"], strict=True)
        if (y != 255).any()
    ]
    assert abs(float(value) - np.mean(by_image)) > 1e-4


@pytest.mark.slow
@pytest.mark.covers("SG-12")
def test_weights_divide_by_the_weights_of_the_labels(state):
    rows, weights = source()[:], np.array([1.0, 0.0, 5.0], np.float32)
    value, _ = jitted(weights=weights).loss(state.params, state, rows)
    logits, labels = np.asarray(logits_of(state, rows)["out"]).reshape(-1, CLASSES), rows["semantic"].reshape(-1)
    keep = labels != 255
    losses = np.asarray(softmax_cross_entropy_loss(jnp.asarray(logits[keep]), jnp.asarray(labels[keep].astype(int))))
    w = weights[labels[keep]]
    assert float(value) == pytest.approx((w * losses).sum() / w.sum(), rel=1e-6)


@pytest.mark.slow
@pytest.mark.covers("SG-12")
@pytest.mark.parametrize("overlap", ["none", "dice"])
def test_void_alone_costs_nothing_and_moves_nothing(overlap):
    learner, rows = jitted(overlap=overlap), source(4)[:]
    rows["semantic"][:] = 255
    state = learner.init(jax.random.key(0), rows)
    after, metrics = learner.update(state, rows)
    chex.assert_trees_all_equal(after.params, state.params)
    assert metrics["loss"].compute() is None
    assert float(learner.loss(state.params, state, rows)[0]) == 0
    assert learner.evaluate(state, rows)["mean_iou"].compute() is None


@pytest.mark.slow
def test_the_loss_of_overlap_is_that_of_images_with_a_class(state):
    rows = source()[:]
    logits, plain = logits_of(state, rows)["out"], jitted().loss(state.params, state, rows)[0]
    keep = rows["semantic"] != 255
    for name, function in (("dice", multiclass_dice_loss), ("tversky", multiclass_tversky_loss)):
        value, metrics = jitted(overlap=name, overlap_weight=2.0).loss(state.params, state, rows)
        shared = np.asarray(function(logits, jnp.asarray(np.where(keep, rows["semantic"], 0).astype(int)), mask=keep))
        want = shared[keep.any((1, 2))].mean()  # five of the six images
        assert metrics["overlap"].compute() == pytest.approx(want, rel=1e-5)
        assert float(value) == pytest.approx(float(plain) + 2 * want, rel=1e-5)


@pytest.mark.weekly
def test_the_auxiliary_head_learns_at_half_weight_and_counts_in_training_alone(learner, state):
    rows = source()[:]
    after, _ = learner.update(state, rows)
    full, _ = jitted(auxiliary_weight=1.0).update(state, rows)
    none, _ = jitted(auxiliary_weight=0.0).update(state, rows)
    moved = [jax.tree.map(lambda a, b: a - b, s.params["aux"], state.params["aux"]) for s in (after, full, none)]
    chex.assert_trees_all_close(moved[0], jax.tree.map(lambda v: v / 2, moved[1]), atol=1e-7)
    assert all(np.abs(leaf).max() == 0 for leaf in jax.tree.leaves(moved[2]))
    assert np.abs(moved[0]["kernel"]).max() > 1e-5
    gradient = jax.grad(lambda p: learner.loss(p, state, rows)[0])(state.params)
    assert np.abs(gradient["aux"]["kernel"]).max() == 0


def test_padding_and_what_lies_under_void_change_nothing(learner, state):
    rows = source()[:]
    plain = learner.evaluate(state, rows)
    wild = {k: np.concatenate([v, v[:2]]) for k, v in rows.items()}
    wild["image"][6:], wild["mask"] = np.nan, np.r_[np.ones(6), np.zeros(2)]
    padded = learner.evaluate(state, wild)
    for name in ("loss", "accuracy"):
        assert padded[name].compute() == pytest.approx(plain[name].compute(), rel=1e-6)
    np.testing.assert_array_equal(padded["mean_iou"].counts, plain["mean_iou"].counts)
    np.testing.assert_array_equal(padded["boundary"].either, plain["boundary"].either)


@pytest.mark.weekly
@pytest.mark.parametrize("spmd", ["jit", "pmap"])
def test_eight_devices_equal_one(spmd):
    """Images have different numbers of pixels that count, so the losses' divisor must be the whole batch's."""
    data, fields = source(16), {"overlap": "dice", "weights": np.array([1.0, 2.0, 4.0], np.float32)}
    placements = (Placement(make_mesh("data:1", jax.devices()[:1])), Placement(make_mesh("data:8"), spmd=spmd))
    one, eight = (fit(build(**fields), Pipeline(data, 16), steps=2, placement=p, progress=False) for p in placements)
    chex.assert_trees_all_close(
        jax.device_get(one.state.params), jax.device_get(eight.state.params), rtol=1e-4, atol=1e-6
    )


@pytest.mark.slow
@pytest.mark.covers("SG-12")
def test_metrics_do_not_depend_on_the_batch_split_and_are_read_by_name(learner, state):
    placement = Placement(make_mesh("data:1", jax.devices()[:1]))
    whole, parts = (evaluate(learner, state, source(9), batch_size=size, placement=placement) for size in (9, 4))
    assert whole["mean_iou"] == parts["mean_iou"]
    by_class, again = (measures["details"]["mean_iou/by_class"] for measures in (whole, parts))
    np.testing.assert_array_equal(by_class, again)
    rows = source(9)[:]
    predicted, labels = np.asarray(learner.predict(state, rows)["classes"]), rows["semantic"]
    keep = labels != 255
    iou = [
        ((predicted == k) & (labels == k) & keep).sum() / (((predicted == k) | (labels == k)) & keep).sum()
        for k in range(CLASSES)
    ]
    assert whole["mean_iou"] == pytest.approx(np.mean(iou))
    np.testing.assert_allclose(by_class, iou)
    assert whole["accuracy"] == pytest.approx((predicted == labels)[keep].mean())


@pytest.mark.slow
def test_labels_move_with_the_image_and_in_training_alone(state):
    """Under a mirrored image the loss is that of the mirrored labels."""
    rows = source()[:]
    mirrored = {**rows, "image": rows["image"][:, :, ::-1], "semantic": rows["semantic"][:, :, ::-1]}
    augmented, plain = jitted(augment=random_flip_example(1.0)), jitted()
    got, _ = augmented.update(state, rows)
    want, _ = plain.update(state, mirrored)
    chex.assert_trees_all_close(got.params, want.params, atol=1e-6)
    other, _ = plain.update(state, {**rows, "image": mirrored["image"]})
    assert np.abs(other.params["out"]["kernel"] - want.params["out"]["kernel"]).max() > 1e-5
    chex.assert_trees_all_equal(augmented.evaluate(state, rows)["loss"], plain.evaluate(state, rows)["loss"])


class First(nn.Module):
    """A parameter that starts at the mean of the first images, as initializers that look at data do."""

    @nn.compact
    def __call__(self, x, train=False):
        return self.param("mean", lambda key: x.mean())


@pytest.mark.parametrize(
    ("build", "rank", "parts"),
    [
        (semantic.learner, 2, {}),
        (mask_queries.learner, 2, {"num_stuff": 1}),
        (volumes.learner, 3, {"window": (2, 2, 2)}),
    ],
)
def test_a_segmenter_is_initialized_by_prepared_images(build, rank, parts):
    learner = build(model=First(), optimizer=optax.sgd(0.1), preprocess=lambda images: 2 * images, **parts)
    batch = {"image": np.full((1, *(2,) * rank, 1), 3, np.float32)}
    assert float(learner.init(jax.random.key(0), batch).params["mean"]) == 6


class Products(nn.Module):
    """Logits of each pixel, and an auxiliary head's, by a matrix each."""

    @nn.compact
    def __call__(self, x, train=False):
        count_pass(self, train)
        return {name: x @ self.param(name, nn.initializers.ones, (2, CLASSES)) for name in ("out", "aux")}


@pytest.mark.slow
@pytest.mark.covers("SG-12")
def test_one_update_by_hand():
    """Weighted entropies of both heads over the pixels, 0.7 of the dice loss of each image; void nowhere."""
    rate, weights, rng = 0.1, np.array([1.0, 2.0, 0.5], np.float32), np.random.default_rng(0)
    learner = semantic.learner(
        model=Products(), optimizer=optax.sgd(rate), weights=weights, overlap="dice", overlap_weight=0.7,
        auxiliary_weight=0.4,
    )  # fmt: skip
    images = rng.normal(size=(2, 1, 4, 2)).astype(np.float32)
    labels = np.array([[[0, 1, 1, 255]], [[2, 255, 255, 0]]], np.uint8)
    before = {name: rng.normal(size=(2, CLASSES)).astype(np.float32) for name in ("out", "aux")}
    state = ModelState(np.int32(0), jax.random.key(0), before, optax.sgd(rate).init(before), {})
    batch = {"image": images, "semantic": labels, "index": np.arange(2)}
    after, metrics = jax.jit(learner.update)(state, batch)
    is_class = (labels[..., None] == np.arange(CLASSES)).astype(np.float32)  # all 0 for void
    real = is_class.sum(-1, keepdims=True)

    def probabilities(matrix):
        scores = jnp.exp(images @ matrix)
        return scores / scores.sum(-1, keepdims=True)

    def entropy(matrix):
        weight = is_class * weights
        return -(weight * jnp.log(probabilities(matrix))).sum() / weight.sum()

    def dice(matrix):
        p = probabilities(matrix) * real
        share = (2 * (p * is_class).sum((1, 2)) + 1) / (p.sum((1, 2)) + is_class.sum((1, 2)) + 1)
        return 1 - share.mean()

    @jax.jit
    def expected(params):
        def loss(p):
            return entropy(p["out"]) + 0.4 * entropy(p["aux"]) + 0.7 * dice(p["out"])

        return jax.tree.map(lambda p, g: p - rate * g, params, jax.grad(loss)(params)), entropy(params["out"])

    new, value = expected(before)
    chex.assert_trees_all_close(after.params, new, rtol=1e-4, atol=1e-6)
    assert metrics["loss"].compute() == pytest.approx(float(value), rel=1e-5)


@pytest.mark.covers("SG-12")
def test_an_update_and_the_measures_of_evaluation_by_hand():
    """Entropies weighted by the labels, 0.6 of each image's overlap, and in training 0.4 of the auxiliary entropy.

    Void counts nowhere. Images are doubled, and in training larger by 0.3.
    """
    weights, rng = np.array([1.0, 2.0, 0.5], np.float32), np.random.default_rng(0)
    learner = semantic.learner(
        model=Products(), optimizer=optax.sgd(0.1), weights=weights, overlap="tversky", overlap_weight=0.6,
        auxiliary_weight=0.4, preprocess=lambda images: 2 * images,
        augment=lambda key, example: example | {"image": example["image"] + 0.3},
    )  # fmt: skip
    images = rng.normal(size=(2, 1, 4, 2)).astype(np.float32)
    labels = np.array([[[0, 1, 1, 255]], [[2, 255, 255, 0]]], np.uint8)
    params = {name: rng.normal(size=(2, CLASSES)).astype(np.float32) for name in ("out", "aux")}
    state = ModelState(np.int32(0), jax.random.key(0), params, optax.sgd(0.1).init(params), PASSED)
    batch = {"image": images / 2, "semantic": labels, "index": np.arange(2)}

    @jax.jit
    def run():
        after, trained = learner.update(state, batch)
        value, _ = learner.loss(params, state, batch)
        return after.replace(rng=None), trained, value, learner.evaluate(state, batch), learner.predict(state, batch)

    after, trained, value, metrics, predictions = run()
    is_class = (labels[..., None] == np.arange(CLASSES)).astype(float)
    weight, real = is_class * weights, is_class.sum(-1, keepdims=True)

    def probabilities(matrix, more):
        scores = np.exp((images.astype(np.float64) + more) @ matrix)
        return scores / scores.sum(-1, keepdims=True)

    def entropy(matrix, more=0.3):
        return -(weight * np.log(probabilities(matrix, more))).sum() / weight.sum()

    def main(matrix, more=0.3):
        p = probabilities(matrix, more) * real
        both = (p * is_class).sum((1, 2))
        extra, lost = p.sum((1, 2)) - both, is_class.sum((1, 2)) - both
        return entropy(matrix, more) + 0.6 * (1 - ((both + 1) / (both + 0.3 * extra + 0.7 * lost + 1)).mean())

    assert float(value) == pytest.approx(main(params["out"], 0), rel=1e-5)
    for name, slope in slopes(lambda p: main(p["out"]) + 0.4 * entropy(p["aux"]), params).items():
        np.testing.assert_allclose(after.params[name], params[name] - 0.1 * slope, rtol=0, atol=1e-6)
    assert passes(after.model_state) == 3 + 1
    assert int(after.step) == 1
    assert trained["loss"].compute() == pytest.approx(entropy(params["out"]), rel=1e-5)
    classes = (images @ params["out"]).argmax(-1)
    np.testing.assert_array_equal(predictions["classes"], classes)
    counted = labels != 255
    iou = [
        ((classes == k) & (labels == k)).sum() / (((classes == k) & counted) | (labels == k)).sum()
        for k in range(CLASSES)
    ]
    found = metrics["mean_iou"].compute()
    np.testing.assert_allclose(found["by_class"], iou, rtol=1e-6)
    assert found[""] == pytest.approx(np.mean(iou))
    accuracies = [(classes == k)[labels == k].mean() for k in range(CLASSES)]
    assert found["mean_accuracy"] == pytest.approx(np.mean(accuracies))
    shares = np.bincount(labels[counted], minlength=CLASSES) / counted.sum()
    assert found["frequency_weighted"] == pytest.approx((shares * iou).sum())
