"""Training by clicks: clicks and losses by hand, one update by hand, padding of prompts, masks of everything."""

from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.data.masks import pack_masks
from dlcore.data.pipeline import Pipeline
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.learner import ModelState
from dlcore.models.vitdet import ViTDet
from dlcore.run import Placement, evaluate, fit, make_mesh
from dlcore.segmentation import promptable
from dlcore.segmentation.clicks import brightness_masks, color_masks, place_click, region_depth, simulate_clicks
from dlcore.segmentation.everything import MaskFilter, grid_points
from dlcore.segmentation.sam import CORNERS, HIDDEN, SAM
from experiments.segmentation.promptable import experiment
from tests.derivatives import slopes


def rectangle(y1, x1, y2, x2, size=8):
    mask = np.zeros((size, size), bool)
    mask[y1:y2, x1:x2] = True
    return mask


# Clicks


@pytest.mark.covers("SG-18")
def test_the_depth_of_a_region_by_hand():
    """Of a square of 5 pixels in the corner: the image's edge counts as the region's."""
    depth = region_depth(jnp.asarray(rectangle(0, 0, 5, 5)))
    rows = [[1, 1, 1, 1, 1], [1, 2, 2, 2, 1], [1, 2, 3, 2, 1], [1, 2, 2, 2, 1], [1, 1, 1, 1, 1]]
    np.testing.assert_array_equal(depth, np.pad(rows, ((0, 3), (0, 3))))


@pytest.mark.covers("SG-18")
def test_a_click_falls_on_the_largest_error():
    target = rectangle(1, 1, 6, 6)
    predicted = np.stack(
        [
            np.zeros((8, 8), bool),  # nothing: the object's middle, (3, 3)
            rectangle(1, 4, 6, 6) | rectangle(7, 0, 8, 8),  # missed are columns 1 to 3 with the middle (2, 3)
            rectangle(0, 0, 8, 8),  # extra are a column and a row at the edge, and two on the other sides
            target,
        ]
    )
    points, labels = jax.jit(place_click)(predicted, np.broadcast_to(target, predicted.shape))
    # Of the frame of 1, 2 pixels no pixel has depth 2: the first pixel of depth 1 is (0, 0).
    np.testing.assert_array_equal(points[:3], [[3, 3], [2, 2], [0, 0]])
    assert labels.tolist() == [1, 1, 0, HIDDEN]


@pytest.mark.slow
def test_clicks_of_training_are_deeper_than_half_of_the_largest_depth():
    target = np.broadcast_to(rectangle(1, 1, 6, 6), (200, 8, 8))
    draw = jax.jit(lambda key: place_click(target & False, target, jax.random.split(key, 200)))
    points, labels = draw(jax.random.key(0))
    # The largest depth is 3, so those of depth 2 and 3 are drawn: 9 pixels from 2 to 4.
    assert {tuple(p) for p in np.asarray(points, int).tolist()} == {(x, y) for x in (2, 3, 4) for y in (2, 3, 4)}
    assert (labels == 1).all()


def test_clicks_are_made_one_after_the_other():
    """A segmenter that fills the rows of its clicks needs as many clicks as the object has rows: 2, then nothing."""
    target = jnp.asarray(np.stack([rectangle(2, 0, 4, 8), rectangle(2, 0, 4, 8)]))

    def segment(points, labels, memory):
        rows = (points[..., 1, None] == jnp.arange(8)) & (labels == 1)[..., None]
        masks = jnp.broadcast_to(rows.any(1)[..., None], target.shape)
        return masks, memory + 1, (labels, memory)

    corners = jnp.zeros((2, 2, 2)), jnp.array([[HIDDEN, HIDDEN], CORNERS])
    labels, memory = jax.jit(lambda: simulate_clicks(segment, target, 3, jnp.int32(0), None, corners))()
    assert memory.tolist() == [0, 1, 2]
    # The second object begins with its box, and its first click is left out; the third click finds nothing wrong.
    assert labels[0].tolist() == [[HIDDEN, HIDDEN, 1, HIDDEN, HIDDEN], [2, 3, HIDDEN, HIDDEN, HIDDEN]]
    assert labels[2].tolist() == [[HIDDEN, HIDDEN, 1, 1, HIDDEN], [2, 3, HIDDEN, 1, 1]]


def test_thresholds_by_hand():
    """Colors 10, 14, 30 in columns, the second channel 1 more below: 14 is within 5 of 10; a click beside takes it.

    Each image has a threshold of its own. A click on the dark and one beside it say the contrary: no vote, so bright.
    """
    images = np.broadcast_to(np.float32([10, 14, 30])[:, None], (4, 2, 3, 2)).copy()
    images[:, 1, :, 1] += 1
    points = np.float32([[[0, 0], [1, 0]]] * 3 + [[[2, 1], [1, 0]]])
    labels = np.array([[1, HIDDEN], [1, 0], [0, HIDDEN], [1, 1]])
    limits = np.float32([5, 5, 5, 1]), np.float32([20, 20, 20, 10.25])
    colors, brightness = jax.jit(
        lambda: (color_masks(images, points, labels, limits[0]), brightness_masks(images, points, labels, limits[1]))
    )()
    rows = [[True, True, False], [True, False, False], [False, False, False], [False, True, False]]
    assert colors[:, 0].tolist() == rows
    # Below, the color 14, 15 is 5 from the clicked 10, 10, which is not within 5.
    assert colors[:, 1].tolist() == [rows[1], *rows[1:3], [False, False, True]]
    dark, bright = [True, True, False], [False, False, True]
    assert brightness[:, 0].tolist() == [dark, bright, bright, [False, True, True]]
    assert brightness[3, 1].tolist() == [True] * 3  # 10.5 in the mean


# The learner


class Fixed:
    """A model whose masks are its parameters, to which a tenth of the previous mask is added; of prepared images."""

    encoder = SimpleNamespace(image_size=8, patch_size=4)

    def init(self, key, x, points, labels, boxes, masks):
        assert (x.shape, points.shape, masks.shape) == ((1, 8, 8, 6), (1, 1, 1, 2), (1, 8, 8, 1))
        assert labels is boxes is None
        return {"params": {"logits": jnp.zeros((4, 8, 8)), "iou": jnp.zeros(4)}}

    def apply(self, variables, x, points=None, labels=None, boxes=None, masks=None, has_mask=None, method=""):
        if method == "encode":
            assert x.shape[-1] == 6
            return jnp.zeros((len(x), 2, 2, 1))
        params = variables["params"]
        logits = jnp.broadcast_to(params["logits"], (len(x), 1, *params["logits"].shape))
        if masks is not None:
            logits += 0.1 * (masks * has_mask[:, None, None, None])[:, None, None, ..., 0]
        return logits, jnp.broadcast_to(params["iou"], (len(x), 1, *params["iou"].shape))


def prepare(images):
    """Each channel twice."""
    return jnp.concatenate([images, images], -1)


class Coarse(Fixed):
    """For images of twice the size of its masks."""

    encoder = SimpleNamespace(image_size=16, patch_size=8)


@pytest.mark.covers("SG-18")
def test_one_update_by_hand():
    """After the first click the best of masks 1 to 3 counts, then mask 0; all terms and weights are in play.

    The true mask has twice the model's resolution, and becomes the one of whose pixels it consists.
    """
    rate, rng = 0.1, np.random.default_rng(0)
    weights = {"focal_weight": 3.0, "dice_weight": 0.5, "iou_weight": 2.0}
    learner = promptable.learner(
        model=Coarse(),
        optimizer=optax.sgd(rate),
        preprocess=prepare,
        num_clicks=2,
        objects=1,
        box_fraction=0.0,
        **weights,
    )
    target = rectangle(2, 1, 7, 6)
    sides = 2 * target - 1.0
    params = {
        "logits": (rng.normal(size=(4, 8, 8)) + np.array([0.5, 0.2, 1, 0.1])[:, None, None] * sides).astype(np.float32),
        "iou": np.array([0.4, 0.3, 0.6, 0.9], np.float32),
    }
    state = ModelState(np.int32(0), jax.random.key(0), params, optax.sgd(rate).init(params), {})
    batch = {
        "image": np.zeros((1, 16, 16, 3), np.float32),
        "masks": pack_masks(np.stack([np.zeros((16, 16), bool), np.kron(target, np.ones((2, 2), bool))]))[None],
        "box_mask": np.array([[False, True]]),
        "index": np.arange(1),
    }
    after, metrics = jax.jit(learner.update)(state, batch)

    def mask_loss(logits):
        p = 1 / (1 + np.exp(-np.float64(logits)))
        focal = np.where(target, -0.25 * (1 - p) ** 2 * np.log(p), -0.75 * p**2 * np.log(1 - p)).mean()
        return 3.0 * focal + 0.5 * (1 - (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1))

    def iou(logits):
        return ((logits > 0) & target).sum() / ((logits > 0) | target).sum()

    # Mask 3 has the largest predicted IoU, so it is the next prompt; mask 2 has the least loss.
    ious = [iou(logits) for logits in params["logits"]]
    second = iou(params["logits"][0] + 0.1 * params["logits"][3])
    assert np.argmin([mask_loss(logits) for logits in params["logits"][1:]]) == 1

    def total(params):
        masks = mask_loss(params["logits"][2]), mask_loss(params["logits"][0] + 0.1 * state.params["logits"][3])
        errors = (sum((params["iou"][m] - ious[m]) ** 2 for m in (1, 2, 3)) / 3, (params["iou"][0] - second) ** 2)
        return sum(masks) / 2 + 2.0 * sum(errors) / 2

    assert metrics["loss"].compute() == pytest.approx(total(params), rel=1e-5)
    for name, slope in slopes(total, params).items():
        np.testing.assert_allclose(after.params[name], params[name] - rate * slope, atol=1e-6)


def learner_of_fixed_masks():
    """(The learner; its state: a square in the middle as mask 0, and five masks of quarters of the image)."""
    filters = MaskFilter(
        points_per_side=1, pred_iou_thresh=0.5, stability_thresh=0.9, mask_nms_thresh=0.7, masks_per_img=3
    )
    learner = promptable.learner(model=Fixed(), optimizer=optax.sgd(0.1), preprocess=prepare, filters=filters)
    state = learner.init(jax.random.key(0), {"image": np.zeros((2, 8, 8, 3), np.float32)})
    logits = np.full((6, 8, 8), -3.0, np.float32)
    logits[0, 2:6, 2:6] = 3
    logits[1, :4, :4] = 3  # stable
    logits[2, :4, :4] = 2  # the same box, predicted worse: suppressed
    logits[3, 4:, 4:], logits[3, 4:6, 4:6] = 0.5, 3  # 4 of 16 pixels are above 1: stability 1 / 4
    logits[4, 4:, 4:] = 3  # stable, but its predicted IoU is low
    logits[5, 4:, :4] = 1.5
    iou = np.array([0.7, 0.9, 0.8, 0.95, 0.4, 0.6], np.float32)
    return learner, state.replace(params={"logits": logits, "iou": iou})


@pytest.mark.covers("SG-17", "SG-18")
def test_predictions_for_each_kind_of_prompt_by_hand():
    """One point has the best of the masks behind mask 0 by its predicted IoU, two points have mask 0.

    Everything are the masks of one point that pass the filters.
    """
    learner, state = learner_of_fixed_masks()
    logits, iou = state.params["logits"], state.params["iou"]
    image, sizes = np.zeros((2, 8, 8, 3), np.float32), np.array([[8, 8], [4, 8]])
    point, label = np.zeros((2, 1, 1, 2), np.float32), np.ones((2, 1, 1), int)

    @jax.jit
    def run():
        batches = (
            {"points": point, "labels": label},
            {"points": np.repeat(point, 2, 2), "labels": np.repeat(label, 2, 2)},
            {"original_size": sizes},
        )
        return [learner.predict(state, {"image": image, **batch}) for batch in batches]

    one, two, everything = jax.device_get(run())
    for outputs, chosen, stability in ((one, 3, 1 / 4), (two, 0, 1)):
        chex.assert_shape(outputs["mask_logits"], (2, 1, 8, 8))
        np.testing.assert_array_equal(outputs["mask_logits"][1, 0], logits[chosen])
        np.testing.assert_allclose(outputs["iou"], np.full((2, 1), iou[chosen]))
        np.testing.assert_allclose(outputs["stability"], np.full((2, 1), stability))
        assert outputs["valid"].all()
    assert "original_size" not in one
    np.testing.assert_array_equal(everything["original_size"], sizes)
    for outputs in (everything["valid"], everything["stability"]):
        assert outputs.tolist() == [[1, 1, 0]] * 2
    np.testing.assert_allclose(everything["iou"], [[0.9, 0.6, 0]] * 2)
    np.testing.assert_array_equal(everything["mask_logits"][1], [logits[1], logits[5], 0 * logits[0]])


def test_evaluation_takes_five_clicks_and_counts_the_ious_after_1_3_and_5():
    """The object is mask 0, so the first click finds mask 3, and each further one mask 0.

    A quarter has 4 pixels of the object, an IoU of 4 / (16 + 16 - 4). To mask 0, -3 and 3, a tenth of the last mask is
    added, which keeps every sign. Objects that are padding, or without a pixel, do not count.
    """
    learner, state = learner_of_fixed_masks()
    masks = np.stack([rectangle(2, 2, 6, 6), rectangle(0, 0, 0, 0), rectangle(2, 2, 6, 6)])
    batch = {"image": np.zeros((2, 8, 8, 3), np.float32), "masks": np.stack([pack_masks(masks)] * 2)}
    batch |= {"box_mask": np.array([[True, True, False]] * 2), "mask": np.array([1, 0]), "index": np.arange(2)}
    metrics = jax.jit(learner.evaluate)(state, batch)
    assert int(metrics["iou_1"].count) == 1
    assert [metrics[f"iou_{k}"].compute() for k in (1, 3, 5)] == [pytest.approx(1 / 7), 1, 1]
    # Five masks of quarters after the first click, then mask 0, whose predicted IoU is .7.
    first = np.square(np.array([0.9, 0.8, 0.95, 0.4, 0.6]) - 1 / 7).mean()
    expected = (first + 4 * 0.3**2) / 5
    assert metrics["iou_loss"].compute() == pytest.approx(expected, rel=1e-5)


def test_a_box_begins_with_the_single_mask():
    """With noise of a tenth of the sides, cut off at the image: of 8 x 4 pixels in the middle, and at the edge."""
    masks = np.stack([rectangle(2, 1, 7, 6)] * 2)
    middle, edge = np.zeros((2, 16, 24), bool)
    middle[6:10, 8:16] = edge[:4, :8] = True
    drawn = np.repeat(np.stack([middle, edge]), 300, 0)

    @jax.jit
    def run(key, masks, drawn):
        noisy = promptable.box_prompt(drawn, np.ones(600, bool), jax.random.split(key, 600))[0]
        return *promptable.box_prompt(masks, np.array([True, False])), noisy

    points, labels, noisy = jax.device_get(run(jax.random.key(0), masks, drawn))
    np.testing.assert_array_equal(points[0], [[1, 2], [6, 7]])
    assert labels.tolist() == [list(CORNERS), [HIDDEN, HIDDEN]]
    noise = noisy[:300] - [[8, 6], [16, 10]]
    np.testing.assert_allclose(noise.std(0), 0.1 * np.array([[8, 4]] * 2), rtol=0.12)
    np.testing.assert_allclose(noise.mean(0), np.zeros((2, 2)), atol=0.15)
    assert noisy[300:].min() == 0


def small_sam():
    encoder = ViTDet(
        num_classes=0, image_size=16, pretrain_size=16, patch_size=4, depth=1, width=8, num_heads=2, mlp_features=8,
        window_size=4, global_blocks=(0,), drop_path=0.0,
    )  # fmt: skip
    return SAM(encoder, features=16, decoder_depth=1, num_heads=2, hidden=8, iou_hidden=8, mask_channels=4)


@pytest.mark.slow
@pytest.mark.covers("SG-17")
def test_hidden_points_change_nothing_and_corners_are_a_box():
    model, rng = small_sam(), np.random.default_rng(0)
    x, masks = rng.normal(size=(1, 16, 16, 3)), rng.normal(size=(1, 16, 16, 1))
    points = jnp.asarray(rng.uniform(0, 16, (1, 1, 2, 2)))
    variables = jax.jit(model.init)(jax.random.key(0), x, points, None, None, masks)
    apply = jax.jit(model.apply, static_argnames="method")
    maps = apply(variables, x, method="encode")

    def decode(*prompts):
        return apply(variables, maps, *prompts, method="decode")

    def with_padding(points, labels):
        return jnp.pad(points, ((0, 0), (0, 0), (0, 2), (0, 0))), jnp.array([[labels + [HIDDEN] * 2]])

    plain = decode(points, jnp.array([[[1, 0]]]))
    chex.assert_trees_all_close(decode(*with_padding(points, [1, 0])), plain, atol=1e-5)
    boxes = jnp.sort(points, 2).reshape(1, 1, 4)
    corners = jnp.sort(points, 2), jnp.array([[list(CORNERS)]])
    chex.assert_trees_all_close(decode(*corners), decode(None, None, boxes), atol=1e-5)
    # A mask that an example does not have is "no mask".
    chex.assert_trees_all_close(decode(points, None, None, masks, jnp.array([False])), decode(points), atol=1e-5)
    assert np.abs(decode(points, None, None, masks)[0] - decode(points)[0]).max() > 1e-3


@pytest.mark.weekly
@pytest.mark.covers("SG-18")
def test_more_clicks_give_better_masks():
    """Of objects with a core in which a click is ambiguous; the page as it stands, one seed."""
    page = ResolvedRun(experiment, resolve(experiment, []))
    splits = experiment.run(page.flags).load()
    learner = page.training_of(splits).build()
    placement = Placement(make_mesh("data:1", jax.devices()[:1]))
    pipeline = Pipeline(splits.train, page.flags.batch_size)
    result = fit(learner, pipeline, steps=page.flags.steps, placement=placement, progress=False)
    numbers = evaluate(learner, result.state, splits.test, batch_size=50, placement=placement)
    assert numbers["iou_5"] > numbers["iou_1"] + 0.02
    assert numbers["iou_1"] > splits.spec["baselines"]["brightness"][0]


# Everything


def test_the_points_of_everything_lie_in_the_middle_of_cells():
    """Of 8 pixels and 2 cells a side: 4 pixels a cell, whose middle is 2 pixels from its edge, pixel 1.5."""
    np.testing.assert_allclose(grid_points(2, 8), [[1.5, 1.5], [5.5, 1.5], [1.5, 5.5], [5.5, 5.5]])
