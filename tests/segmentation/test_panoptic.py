"""Merging objects and stuff by hand, what a semantic map cannot tell apart, and two learners as one."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.scenes import SHAPES, STUFF, scenes
from dlcore.learner import Learner, State, Sum, mask_of
from dlcore.metrics import PanopticQuality
from dlcore.segmentation.panoptic import components, learner, merge, panoptic_evaluator, target_segments


def rows(*texts):
    return np.array([[int(c) for c in text.replace(".", "9")] for text in texts])


def drawn(*texts):
    """Masks 0, 1, ... of a drawing in which each digit is a mask's pixel."""
    pixels = rows(*texts)
    return np.array([pixels == k for k in range(pixels[pixels < 9].max() + 1)])


def test_objects_go_before_stuff_and_sure_ones_before_others():
    merged = jax.jit(merge, static_argnums=5, static_argnames="min_stuff")
    masks = np.stack([drawn("000000", "......")[0], drawn("....00", "....00")[0], drawn("......", "0000..")[0]])
    semantic = rows("012012", "111122")
    scores, labels, valid = np.array([0.9, 0.8, 0.4]), np.array([1, 0, 0]), np.ones(3, bool)
    segments, classes = merged(masks, scores, labels, valid, semantic, 2, min_visible=0.4)
    # Object 0 takes its row; object 1 keeps 2 of 4 pixels, half; object 2 is not sure enough. Class 2 is no stuff.
    np.testing.assert_array_equal(segments, [[0] * 6, [4, 4, 4, 4, 1, 1]])
    np.testing.assert_array_equal(classes, [3, 2, -1, -1, 1])  # stuff 0 is nowhere
    segments, classes = merged(masks, scores, labels, valid, semantic, 2, min_visible=0.5, min_stuff=5)
    # Half is not more than half; its pixels are of a thing's class there, which is no stuff; four of stuff are too few.
    np.testing.assert_array_equal(segments, [[0] * 6, [-1] * 6])
    np.testing.assert_array_equal(classes, [3, -1, -1, -1, -1])
    # From the highest score down, whatever the order; padding is never an object.
    segments, _ = merged(masks, np.array([0.7, 0.8, 0.9]), labels, np.array([True, True, False]), semantic, 2)
    np.testing.assert_array_equal(segments, [[0, 0, 0, 0, 1, 1], [4, 4, 4, 4, 1, 1]])


def test_true_segments_are_the_visible_objects_and_the_stuff():
    numbered = jax.jit(target_segments, static_argnums=4)
    masks = np.stack([drawn("000...")[0], drawn("..00..")[0], drawn(".....0")[0]])
    semantic = np.array([[3, 3, 3, 3, 1, 255]])
    segments, classes = numbered(masks, np.array([0, 0, 1]), np.array([True, True, False]), semantic, 2)
    np.testing.assert_array_equal(segments, [[0, 0, 1, 1, 4, -1]])  # the nearest hides; a crowd and void are none
    np.testing.assert_array_equal(classes, [2, 2, -1, 0, 1])
    # The farthest is a crowd: void where it is seen.
    segments, classes = numbered(masks, np.array([0, 0, 1]), np.array([False, True, True]), semantic, 2)
    np.testing.assert_array_equal(segments, [[-1, -1, 1, 1, 4, 2]])
    np.testing.assert_array_equal(classes, [-1, 2, 3, 0, 1])
    bare, _ = numbered(masks[:0], np.zeros(0, int), np.zeros(0, bool), semantic, 2)
    np.testing.assert_array_equal(bare, [[-1, -1, -1, -1, 1, -1]])


@pytest.mark.covers("SG-09")
def test_two_cats_are_two_segments_of_one_class():
    cats = np.asarray(drawn("..0011..", "..0011..", "..0011.."))
    semantic = np.where(cats.any(0), 1, 0)  # stuff 0 behind cats, class 1
    segments, classes = map(np.asarray, jax.jit(merge, static_argnums=5)(cats, *two_cats(), semantic, 1))
    assert len(np.unique(semantic)) == 2  # one color for both cats
    assert [len(np.unique(segments[cat])) for cat in cats] == [1, 1]
    assert len(np.unique(segments)) == 3  # and one for each
    np.testing.assert_array_equal(classes[segments], semantic)  # their class is the same


def two_cats():
    """Scores, classes and validity of two detections."""
    return np.array([0.9, 0.8], np.float32), np.zeros(2, int), np.ones(2, bool)


@pytest.mark.weekly
@pytest.mark.covers("SG-09")
def test_two_cats_are_one_region_of_a_semantic_map_and_two_objects():
    cats = drawn("..0011..", "..0011..", "..0011..")
    semantic = jnp.where(cats.any(0), 1, 0)  # stuff 0 behind cats, class 1
    segments, classes = merge(cats, *two_cats(), semantic, 1)
    assert len(np.unique(semantic)) == 2  # one color for both cats
    assert len(np.unique(segments)) == 3  # one for each
    np.testing.assert_array_equal(classes[segments], semantic)  # and their class is the same
    real = target_segments(cats, jnp.zeros(2, int), jnp.ones(2, bool), semantic, 1)
    regions = components(np.asarray(semantic), 1)
    quality = {
        name: PanopticQuality.of(*(jnp.asarray(x)[None] for x in (*found, *real)), 2).compute()["pq_by_class"]
        for name, found in (("objects", (segments, classes)), ("regions", regions))
    }
    np.testing.assert_array_equal(quality["objects"], [1, 1])
    np.testing.assert_array_equal(quality["regions"], [1, 0])  # half of the region is each cat, which is no match


def test_regions_are_numbered_from_the_largest():
    semantic = np.array([[1, 1, 0, 2, 2], [0, 0, 0, 0, 2], [1, 0, 2, 0, 255]])
    segments, classes = components(semantic, 1, room=3)
    np.testing.assert_array_equal(segments, [[1, 1, 3, 0, 0], [3, 3, 3, 3, 0], [2, 3, -1, 3, -1]])
    np.testing.assert_array_equal(classes, [2, 1, 1, 0])


# The learner


def toy(name, outputs):
    """A learner of one number, with a loss of its own, that predicts what the batch says."""

    def value(params, batch):
        return (params - batch[name]) ** 2

    def init(rng, batch):
        return State(jnp.zeros((), jnp.int32), rng, jnp.zeros(()), {"updates": jnp.zeros((), jnp.int32)})

    def loss(params, state, batch):
        values = value(params, batch)
        return values.mean(), {"loss": Sum.of(values, mask_of(batch))}

    def update(state, batch):
        gradient, metrics = jax.grad(loss, has_aux=True)(state.params, state, batch)
        updates = {"updates": state.opt_state["updates"] + 1}
        return state.replace(step=state.step + 1, params=state.params - gradient / 2, opt_state=updates), metrics

    return Learner(init, update, lambda s, b: loss(s.params, s, b)[1], lambda s, b: outputs(b), loss)


def perfect(source):
    """Learners that predict the truth of scenes."""
    side = source.arrays["image"].shape[1]

    def detect(batch):
        # Masks in the frames of boxes that are the whole image.
        boxes = jnp.tile(jnp.array([0.0, 0, side, side]), (*batch["labels"].shape, 1))
        masks = jnp.array(batch["full"], jnp.float32)
        # Later shapes lie before earlier ones.
        scores = jnp.broadcast_to(0.9 + 0.01 * jnp.arange(masks.shape[1]), batch["labels"].shape)
        return {"boxes": boxes, "scores": scores, "labels": batch["labels"], "valid": batch["box_mask"], "masks": masks}

    def segment(batch):
        return {"classes": batch["semantic"]}

    return toy("a", detect), toy("b", segment)


@pytest.fixture(scope="module")
def scene():
    source = scenes(6, 3, size=32, smallest=8, largest=14, max_boxes=4, masks=True, stuff=True)
    masks = np.unpackbits(source.arrays["masks"], axis=-1, count=32).astype(bool)
    batch = source[:] | {"full": masks, "a": np.full(6, 2, np.float32), "b": np.full(6, 4, np.float32)}
    return source, batch


@pytest.mark.weekly
def test_two_learners_train_as_one_and_their_predictions_are_merged(scene):
    source, batch = scene
    both = learner(instances=perfect(source)[0], semantic=perfect(source)[1], num_stuff=len(STUFF), min_stuff=0)
    state = both.init(jax.random.key(0), batch)
    state, metrics = both.update(state, batch)
    state, _ = both.update(state, batch)
    assert (float(state.params["instances"]), float(state.params["semantic"])) == (2, 4)
    assert (int(state.step), int(state.opt_state["semantic"]["updates"])) == (2, 2)
    assert {name: metric.compute() for name, metric in metrics.items()} == {"instance_loss": 4, "semantic_loss": 16}
    assert set(both.evaluate(state, batch)) == {"instance_loss", "semantic_loss"}
    value, _ = both.loss({"instances": 1.0, "semantic": 1.0}, state, batch)
    assert float(value) == 1 + 9
    outputs = both.predict(state, batch)
    evaluator = panoptic_evaluator((*STUFF, *SHAPES), len(STUFF))
    acc = None
    for part in (slice(0, 4), slice(4, 6)):
        acc = evaluator.add(acc, jax.tree.map(lambda x, p=part: x[p], outputs), {k: v[part] for k, v in batch.items()})
    found = evaluator.finish(acc)
    assert found["pq"] == found["sq"] == found["rq"] == found["pq_things"] == found["pq_stuff"] == 1
    assert 0.5 < found["components_pq"] <= 1
    assert set(found) <= set(evaluator.names)


@pytest.mark.weekly
def test_lost_objects_cost_quality(scene):
    source, batch = scene
    both = learner(instances=perfect(source)[0], semantic=perfect(source)[1], num_stuff=len(STUFF), min_stuff=0)
    state = both.init(jax.random.key(0), batch)
    lost = batch | {"box_mask": batch["box_mask"] & (np.arange(4) > 0)}
    outputs = both.predict(state, lost)
    evaluator = panoptic_evaluator((*STUFF, *SHAPES), len(STUFF))
    found = evaluator.finish(evaluator.add(None, outputs, batch))
    assert found["pq_stuff"] == 1
    assert found["pq_things"] < 0.8
    assert found["components_pq"] > found["pq"]
    # Where all is void, nothing is wrong and nothing is measured.
    void = batch | {"box_mask": np.zeros((6, 4), bool), "semantic": np.full_like(batch["semantic"], 255)}
    assert evaluator.finish(evaluator.add(None, outputs, void))["pq"] is None


@pytest.mark.covers("SG-09")
def test_one_update_by_hand():
    """Each part descends its own squares, 5 - (5 - 2) = 2 and 1 - (1 - 4) = 4, and keeps its own step and key."""

    def unread(batch):
        raise AssertionError("a prediction is no part of an update")

    both = learner(instances=toy("a", unread), semantic=toy("b", unread), num_stuff=2)
    batch = {"a": np.full(2, 2, np.float32), "b": np.full(2, 4, np.float32), "index": np.arange(2)}

    @jax.jit
    def step():
        first = both.init(jax.random.key(0), batch)
        opt_state = {"instances": {"updates": jnp.int32(6)}, "semantic": {"updates": jnp.int32(2)}}
        state = first.replace(params={"instances": jnp.float32(5), "semantic": jnp.float32(1)}, opt_state=opt_state)
        after, metrics = both.update(state, batch)
        whole = jax.grad(lambda p: both.loss(p, state, batch)[0])(state.params)
        return first, after, metrics, whole

    first, after, metrics, whole = step()
    assert (float(after.params["instances"]), float(after.params["semantic"])) == (2, 4)
    assert {name: metric.compute() for name, metric in metrics.items()} == {"instance_loss": 9, "semantic_loss": 9}
    assert (float(whole["instances"]), float(whole["semantic"])) == (6, -6)  # of the sum of both
    assert int(after.step) == 1
    assert jax.tree.map(int, after.opt_state) == {"instances": {"updates": 7}, "semantic": {"updates": 3}}
    for name, other in (("instances", "semantic"), ("semantic", "instances")):
        assert int(after.parts[name].step) == 1
        assert (after.parts[name].params, after.parts[name].opt_state) == (None, None)
        assert after.parts[name].rng == first.parts[name].rng != first.parts[other].rng


def test_the_predictions_of_two_learners_are_pasted_and_merged():
    """Object 0 fills the box of the two left columns, object 1 has a chance of less than 1/2, object 2 a low score.

    Of the stuff, class 0 has three pixels left, and class 1 one, which is too few.
    """
    boxes = np.array([[[0, 0, 2, 2], [2, 0, 4, 2], [2, 0, 4, 2]]], np.float32)
    detections = {"boxes": boxes, "scores": np.array([[0.9, 0.9, 0.6]], np.float32), "labels": np.array([[1, 0, 0]])}
    detections |= {"valid": np.ones((1, 3), bool)}
    detections["masks"] = np.broadcast_to(np.float32([0.9, 0.4, 0.9])[:, None, None], (1, 3, 2, 2))
    semantic = np.array([[[1, 1, 0, 0], [1, 1, 0, 1]]])
    both = learner(
        instances=toy("a", lambda batch: detections), semantic=toy("b", lambda batch: {"classes": semantic}),
        num_stuff=2, score_thresh=0.7, min_stuff=2,
    )  # fmt: skip
    batch = {"a": np.full(1, 2, np.float32), "b": np.full(1, 4, np.float32), "index": np.arange(1)}
    state = jax.eval_shape(both.init, jax.random.key(0), batch)
    state = state.replace(params={"instances": jnp.float32(5), "semantic": jnp.float32(1)})
    outputs, measured = jax.jit(lambda s: (both.predict(s, batch), both.evaluate(s, batch)))(
        jax.tree.map(lambda x: x if hasattr(x, "addressable_shards") else jnp.zeros(x.shape, x.dtype), state)
    )
    np.testing.assert_array_equal(outputs["segments"], [[[0, 0, 3, 3], [0, 0, 3, -1]]])
    np.testing.assert_array_equal(outputs["segment_labels"], [[3, -1, -1, 0, -1]])
    np.testing.assert_array_equal(outputs["classes"], semantic)
    np.testing.assert_array_equal(outputs["boxes"], boxes)
    assert {name: metric.compute() for name, metric in measured.items()} == {"instance_loss": 9, "semantic_loss": 9}
    assert both.classes(state, batch) == {}


def test_the_quality_of_two_images_by_hand():
    """Two cats of two pixels each and four of sky. One cat is lost in one image of two: 3 / (3 + 1/2) of the class.

    The region of both cats of the semantic map has an IoU of 1/2 with each, which is no match. A second batch has the
    images the other way round.
    """
    evaluator = panoptic_evaluator(("sky", "cat"), 1)
    semantic = np.array([[[1, 1, 1, 1, 0, 0, 0, 0]]] * 2, np.uint8)
    rows = {"image": np.zeros((2, 1, 8, 3)), "masks": np.array([[[[0b11000000]], [[0b00110000]]]] * 2, np.uint8)}
    rows |= {"labels": np.zeros((2, 2), int), "box_mask": np.ones((2, 2), bool), "semantic": semantic}
    segments = np.array([[[0, 0, 1, 1, 2, 2, 2, 2]], [[0, 0, -1, -1, 2, 2, 2, 2]]], np.int32)
    labels, acc = np.array([[1, 1, 0], [1, -1, 0]], np.int32), None
    for order in ([0, 1], [1, 0]):
        outputs = {"segments": segments[order], "segment_labels": labels[order], "classes": semantic}
        acc = evaluator.add(acc, outputs, rows)
    share = 3 / 3.5
    expected = {"pq": (share + 1) / 2, "sq": 1, "rq": (share + 1) / 2, "pq_things": share, "pq_stuff": 1}
    expected |= {"pq/sky": 1, "pq/cat": share, "components_pq": 0.5}
    assert evaluator.finish(acc) == pytest.approx(expected)
    assert set(evaluator.names) == set(expected)
    # Where nothing is measured, no number is given.
    measured = ("pq", "sq", "rq", "pq_things", "pq_stuff", "components_pq")
    assert evaluator.finish({"": SimpleNamespace(compute=lambda: None)}) == dict.fromkeys(measured)
