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
from dlcore.segmentation.everything import MaskFilter, filter_masks, grid_points, stability_scores
from dlcore.segmentation.sam import CORNERS, HIDDEN, SAM
from experiments.segmentation.promptable import experiment


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
    points, labels = place_click(jnp.asarray(predicted), jnp.asarray(np.broadcast_to(target, predicted.shape)))
    # Of the frame of 1, 2 pixels no pixel has depth 2: the first pixel of depth 1 is (0, 0).
    np.testing.assert_array_equal(points[:3], [[3, 3], [2, 2], [0, 0]])
    assert labels.tolist() == [1, 1, 0, HIDDEN]


def test_clicks_of_training_are_deeper_than_half_of_the_largest_depth():
    target = jnp.broadcast_to(jnp.asarray(rectangle(1, 1, 6, 6)), (200, 8, 8))
    points, labels = place_click(target & False, target, jax.random.split(jax.random.key(0), 200))
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
    """Colors 10, 14, 30 in columns: 14 is within 5 of 10; a click beside takes it away."""
    images = np.broadcast_to(np.float32([10, 14, 30])[:, None], (3, 2, 3, 1))
    points, labels = np.float32([[[0, 0], [1, 1]]] * 3), np.array([[1, HIDDEN], [1, 0], [0, HIDDEN]])
    run = jax.jit(lambda: (color_masks(images, points, labels, 5.0), brightness_masks(images, points, labels, 20.0)))
    colors, brightness = run()
    assert colors[:, 0].tolist() == [[True, True, False], [True, False, False], [False, False, False]]
    assert brightness[[0, 2], 0].tolist() == [[True, True, False], [False, False, True]]


# The learner


class Fixed:
    """A model whose masks are its parameters, to which a tenth of the previous mask is added."""

    encoder = SimpleNamespace(image_size=8, patch_size=4)

    def apply(self, variables, x, points=None, labels=None, boxes=None, masks=None, has_mask=None, method=""):
        if method == "encode":
            return jnp.zeros((len(x), 2, 2, 1))
        params = variables["params"]
        logits = params["logits"] + 0.1 * (masks * has_mask[:, None, None, None])[:, None, None, ..., 0]
        return logits, jnp.broadcast_to(params["iou"], (len(x), 1, 4))


@pytest.mark.slow
@pytest.mark.covers("SG-18")
def test_one_update_by_hand():
    """After the first click the best of masks 1 to 3 counts, then mask 0; all terms and weights are in play."""
    rate, rng = 0.1, np.random.default_rng(0)
    weights = {"focal_weight": 3.0, "dice_weight": 0.5, "iou_weight": 2.0}
    learner = promptable.learner(
        model=Fixed(), optimizer=optax.sgd(rate), num_clicks=2, objects=1, box_fraction=0.0, **weights
    )
    target = rectangle(2, 1, 7, 6)
    sides = 2 * target - 1.0
    params = {
        "logits": (rng.normal(size=(4, 8, 8)) + np.array([0.5, 0.2, 1, 0.1])[:, None, None] * sides).astype(np.float32),
        "iou": np.array([0.4, 0.3, 0.6, 0.9], np.float32),
    }
    state = ModelState(np.int32(0), jax.random.key(0), params, optax.sgd(rate).init(params), {})
    batch = {
        "image": np.zeros((1, 8, 8, 3), np.float32),
        "masks": pack_masks(np.stack([np.zeros((8, 8), bool), target]))[None],
        "box_mask": np.array([[False, True]]),
        "index": np.arange(1),
    }
    after, metrics = jax.jit(learner.update)(state, batch)

    def mask_loss(logits):
        p = 1 / (1 + jnp.exp(-logits))
        focal = jnp.where(target, -0.25 * (1 - p) ** 2 * jnp.log(p), -0.75 * p**2 * jnp.log(1 - p)).mean()
        return 3.0 * focal + 0.5 * (1 - (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1))

    def iou(logits):
        return (np.asarray(logits > 0) & target).sum() / (np.asarray(logits > 0) | target).sum()

    # Mask 3 has the largest predicted IoU, so it is the next prompt; mask 2 has the least loss.
    ious = [iou(logits) for logits in params["logits"]]
    second = iou(params["logits"][0] + 0.1 * params["logits"][3])
    assert np.argmin([float(mask_loss(logits)) for logits in params["logits"][1:]]) == 1

    def total(params):
        masks = mask_loss(params["logits"][2]), mask_loss(params["logits"][0] + 0.1 * state.params["logits"][3])
        errors = (
            sum((params["iou"][m] - ious[m]) ** 2 for m in (1, 2, 3)) / 3,
            (params["iou"][0] - second) ** 2,
        )
        return sum(masks) / 2 + 2.0 * sum(errors) / 2

    value, gradients = jax.value_and_grad(total)(params)
    assert metrics["loss"].compute() == pytest.approx(float(value), rel=1e-5)
    expected = jax.tree.map(lambda p, g: p - rate * g, params, gradients)
    chex.assert_trees_all_close(after.params, expected, rtol=1e-4, atol=1e-6)


def test_a_box_begins_with_the_single_mask():
    """With noise of a tenth of the sides, cut off at the image."""
    masks = jnp.asarray(np.stack([rectangle(2, 1, 7, 6)] * 2))
    points, labels = promptable.box_prompt(masks, jnp.array([True, False]))
    np.testing.assert_array_equal(points[0], [[1, 2], [6, 7]])
    assert labels.tolist() == [list(CORNERS), [HIDDEN, HIDDEN]]
    noisy = promptable.box_prompt(masks, jnp.array([True, True]), jax.random.split(jax.random.key(0), 2))[0]
    assert 0 < np.abs(noisy - points).max() < 5 * 0.1 * 5
    assert (np.asarray(noisy) >= 0).all()


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
    splits = experiment.task.data(page.flags)
    learner = experiment.build(page.setup_of(splits))
    placement = Placement(make_mesh("data:1", jax.devices()[:1]))
    pipeline = Pipeline(splits.train, page.flags.batch_size)
    result = fit(learner, pipeline, steps=page.flags.steps, placement=placement, progress=False)
    numbers = evaluate(learner, result.state, splits.test, batch_size=50, placement=placement)
    assert numbers["iou_5"] > numbers["iou_1"] + 0.02
    assert numbers["iou_1"] > splits.spec["baselines"]["brightness"][0]


# Everything


@pytest.mark.covers("SG-17")
def test_masks_of_everything_are_filtered_by_hand():
    logits = np.full((5, 8, 8), -3.0, np.float32)
    logits[0, :4, :4] = 3  # stable
    logits[1, :4, :4] = 2  # the same box, predicted worse: suppressed
    logits[2, 4:, 4:], logits[2, 4:6, 4:6] = 0.5, 3  # 4 of 16 pixels are above 1: stability 1 / 4
    logits[3, 4:, 4:] = 3  # stable, but its predicted IoU is low
    logits[4, 4:, :4] = 1.5
    np.testing.assert_allclose(stability_scores(jnp.asarray(logits))[:3], [1, 1, 0.25])
    filters = MaskFilter(
        pred_iou_thresh=0.5, stability_thresh=0.9, mask_nms_thresh=0.7, stability_offset=1.0, masks_per_img=3
    )
    run = jax.jit(lambda logits, iou: filter_masks(logits, iou, filters))
    outputs = run(logits, jnp.array([0.9, 0.8, 0.95, 0.4, 0.6]))
    assert outputs["valid"].tolist() == [True, True, False]
    np.testing.assert_allclose(outputs["iou"], [0.9, 0.6, 0])
    np.testing.assert_array_equal(outputs["mask_logits"][1], logits[4])


def test_the_points_of_everything_lie_in_the_middle_of_cells():
    """Of 8 pixels and 2 cells a side: 4 pixels a cell, whose middle is 2 pixels from its edge, pixel 1.5."""
    np.testing.assert_allclose(grid_points(2, 8), [[1.5, 1.5], [5.5, 1.5], [1.5, 5.5], [5.5, 5.5]])
