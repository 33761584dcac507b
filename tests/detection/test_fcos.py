"""FCOS against torchvision's, its targets by hand, and the learner's corners: no box, padding, devices."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.pipeline import Pipeline
from dlcore.detection import fcos
from dlcore.detection.anchors import Grid
from dlcore.detection.fcos import FCOS, Outputs
from dlcore.detection.torch_weights import from_torch_names
from dlcore.learner import ModelState
from dlcore.models import create_model
from dlcore.nn import BatchNorm, Conv
from dlcore.ops.replica import REPLICA
from dlcore.run import Placement, evaluate, fit, make_mesh
from tests.detection.detectors import Golden, jitted, parameters, source
from tests.experiment.arguments import arguments_of
from tests.wiring import assert_wiring

# Against torchvision


def torchvision_detector():
    return FCOS(create_model("resnet50"), 91, ("layer2", "layer3", "layer4"))


@pytest.mark.slow
@pytest.mark.covers("DE-19")
def test_it_has_torchvisions_number_of_parameters():
    assert parameters(torchvision_detector()) == 32_269_600


@pytest.mark.weekly
@pytest.mark.covers("DE-19", "DE-20")
def test_pyramid_heads_and_losses_equal_torchvision():
    golden, model = Golden("tvdet_fcos_resnet50_fpn"), torchvision_detector()
    x = golden.images()

    @jax.jit
    def apply(variables, x):
        return model.apply(variables, x, capture_intermediates=lambda module, _: module.name == "fpn")

    (outputs, grid), seen = apply(from_torch_names(model, golden.weights), x)
    for level, name in zip(seen["intermediates"]["fpn"]["__call__"][0], ("0", "1", "2", "p6", "p7"), strict=True):
        golden.check(level.transpose(0, 3, 1, 2), f"fpn.{name}")
    golden.check(outputs.logits, "head.cls_logits")
    golden.check(outputs.distances, "head.bbox_regression")
    golden.check(outputs.centerness[..., None], "head.bbox_ctrness")
    half = grid.strides[:, None] / 2
    np.testing.assert_allclose(np.concatenate([grid.points - half, grid.points + half], 1), golden.arrays["anchors"])
    boxes, labels, valid = golden.targets()
    sums = jax.vmap(lambda *rows: fcos.image_losses(rows[0], grid, *rows[1:]))(outputs, boxes, labels, valid)
    count = sums.pop("num_foreground").sum()
    for ours, theirs in (
        ("classification", "classification"),
        ("box", "bbox_regression"),
        ("centerness", "bbox_ctrness"),
    ):
        assert float(sums[ours].sum() / count) == pytest.approx(golden.number(f"loss.{theirs}"), rel=2e-5)


# Targets by hand


@pytest.mark.covers("DE-19")
def test_centerness_by_hand():
    rows = [
        ([2, 1, 6, 4], 0.288675),  # left 2 of right 6, top 1 of bottom 4: sqrt(2/6 * 1/4) = sqrt(1/12)
        ([3, 5, 3, 5], 1),
        ([0, 5, 3, 5], 0),
        ([-1, 5, 3, 5], 0),  # outside
        ([0, 0, 0, 0], 0),
        ([0.25, 0.5, 0.5, 0.5], 0.707107),  # parts of a pixel count: sqrt(0.25/0.5 * 1)
    ]
    distances, expected = (np.array(column, np.float32) for column in zip(*rows, strict=True))
    np.testing.assert_allclose(jax.jit(fcos.centerness)(distances), expected, atol=1e-6)


@pytest.mark.covers("DE-19")
def test_scores_start_at_the_prior_probability():
    model = FCOS(Small(), 3, ("fine", "coarse"), prior_probability=0.2)

    @jax.jit
    def bias(key):  # alone, so that nothing else is computed
        return model.init(key, jnp.zeros((1, 32, 32, 3)))["params"]["cls_logits"]["bias"]

    np.testing.assert_allclose(jax.nn.sigmoid(bias(jax.random.key(0))), [0.2] * 3, rtol=1e-6)


class Given(nn.Module):
    """Outputs at four locations on stride 8, in proportion to the one number of an image."""

    @nn.compact
    def __call__(self, images, train=False):
        shapes = {"logits": (4, 2), "distances": (4, 4), "centerness": (4,)}
        parts = {name: self.param(name, nn.initializers.zeros, shape) for name, shape in shapes.items()}
        scaled = {name: images.reshape(-1, *[1] * part.ndim) * part for name, part in parts.items()}
        return Outputs(**scaled), Grid.of([(2, 2)], (16, 16))


@pytest.mark.slow(unless=["evaluate"])
@pytest.mark.covers("DE-19")
@pytest.mark.parametrize("step", ["evaluate", "update"])
def test_one_step_by_hand(step):
    """Of (0, 0), (8, 0), (0, 8) and (8, 8) the last alone lies in a box: focal + (1 - GIoU) + centerness over two."""
    rate, rng = 0.1, np.random.default_rng(0)
    learner = fcos.learner(model=Given(), optimizer=optax.sgd(rate), alpha=0.3, gamma=2.0)
    before = {"logits": rng.normal(size=(4, 2)), "distances": rng.uniform(0.3, 1.2, (4, 4))}
    before["centerness"] = rng.normal(size=4)
    before = {name: value.astype(np.float32) for name, value in before.items()}
    scale = np.array([1.0, 0.7], np.float32)
    boxes = np.array([[2, 4, 14, 13], [1, 2, 12, 12]], np.float32)
    batch = {
        "image": scale.reshape(2, 1, 1, 1),
        "boxes": np.stack([boxes, np.tile(np.float32([0, 0, 16, 16]), (2, 1))], 1),  # the second is padding
        "labels": np.array([[1, 0], [0, 1]]),
        "box_mask": np.array([[True, False], [True, False]]),
        "index": np.arange(2),
    }
    state = ModelState(np.int32(0), jax.random.key(0), before, optax.sgd(rate).init(before), {})
    done = jax.jit(getattr(learner, step))(state, batch)
    after, metrics = done if step == "update" else (None, done)
    yes = np.zeros((2, 4, 2), np.float32)
    yes[0, 3, 1] = yes[1, 3, 0] = 1
    # (left, top, right, bottom) are (6, 4, 6, 5) and (7, 6, 4, 4).
    central = np.sqrt(np.array([6 / 6 * 4 / 5, 4 / 7 * 4 / 6]))

    def parts(params, xp=jnp):
        p = 1 / (1 + xp.exp(-scale[:, None, None] * params["logits"]))
        focal = -0.3 * yes * (1 - p) ** 2 * xp.log(p) - 0.7 * (1 - yes) * p**2 * xp.log(1 - p)
        reach = 8 * scale[:, None] * params["distances"][3] * np.array([-1, -1, 1, 1])
        found = 8 + reach
        low, high = xp.minimum(found, boxes), xp.maximum(found, boxes)

        def area(x0, y0, x1, y1):
            return (x1 - x0) * (y1 - y0)

        shared = area(high[:, 0], high[:, 1], low[:, 2], low[:, 3])
        union = area(*found.T) + area(*boxes.T) - shared
        hull = area(low[:, 0], low[:, 1], high[:, 2], high[:, 3])
        giou = shared / union - (hull - union) / hull
        z = scale * params["centerness"][3]
        center = central * xp.log1p(xp.exp(-z)) + (1 - central) * xp.log1p(xp.exp(z))
        return focal.sum() / 2, (1 - giou).sum() / 2, center.sum() / 2

    expected = parts(before, np)
    for name, value in zip(("classification", "box", "centerness"), expected, strict=True):
        assert metrics[name].compute() == pytest.approx(float(value), rel=1e-4), name
    assert metrics["loss"].compute() == pytest.approx(float(sum(expected)), rel=1e-4)
    if step == "update":
        gradients = jax.jit(jax.grad(lambda params: sum(parts(params))))(before)
        new = jax.tree.map(lambda p, g: p - rate * g, before, gradients)
        chex.assert_trees_all_close(after.params, new, rtol=1e-4, atol=1e-6)


@pytest.mark.covers("DE-19")
def test_which_box_a_location_is_matched_to():
    # Locations at 0, 8, ..., 56 along both axes on stride 8 (farthest side in (0, 16]) and 0, 16, 32, 48 on stride 16.
    grid = Grid.of([(8, 8), (4, 4)], (64, 64))
    boxes = np.array(
        [
            [10, 10, 26, 26],  # center 18: locations 16 and 24 lie inside and near; farthest sides 10 and 14
            [-8, -8, 72, 72],  # center 32: farthest side at least 40, so on the coarse level alone
            [12, 12, 20, 20],  # inside the first, smaller: takes location 16
            [30, 30, 34, 34],  # padding
        ],
        np.float32,
    )
    match = jax.jit(lambda boxes, valid: fcos.match(grid, boxes, valid, regress_range=2))
    matched = match(boxes, np.array([True, True, True, False]))
    fine, coarse = np.asarray(matched[:64]).reshape(8, 8), np.asarray(matched[64:]).reshape(4, 4)
    want = np.full((8, 8), -1)
    want[2:4, 2:4], want[2, 2] = 0, 2
    np.testing.assert_array_equal(fine, want)
    # Near: within 1.5 * 16 of 32, so 16, 32 and 48, but not 0, which lies inside. The small boxes' sides are below 16.
    want = np.full((4, 4), -1)
    want[1:, 1:] = 1
    np.testing.assert_array_equal(coarse, want)


@pytest.mark.slow
def test_a_small_radius_leaves_the_edge_of_a_box_alone():
    grid = Grid.of([(8, 8)], (64, 64))
    box, valid = jnp.array([[1.0, 1, 63, 63]]), jnp.ones(1, bool)
    assert int((fcos.match(grid, box, valid, 1.0) >= 0).sum()) == 1  # 32 alone: 24 and 40 are one stride away
    assert int((fcos.match(grid, box, valid, 1.5) >= 0).sum()) == 9
    assert int((fcos.match(grid, box, valid, 100.0) >= 0).sum()) == 49  # all inside: 8 to 56


@pytest.mark.weekly
@pytest.mark.covers("DE-19")
def test_perfect_outputs_cost_nothing_but_the_entropy_and_give_the_boxes_back():
    grid = Grid.of([(8, 8), (4, 4)], (64, 64))
    boxes, labels = jnp.array([[10.0, 10, 26, 28], [0, 0, 64, 60], [0, 0, 0, 0]]), jnp.array([2, 0, -1])
    valid = jnp.array([True, True, False])
    matched = fcos.match(grid, boxes, valid, regress_range=2)
    foreground = np.asarray(matched) >= 0
    distances = np.maximum(
        np.concatenate([grid.points - boxes[matched][:, :2], boxes[matched][:, 2:] - grid.points], 1), 0
    )
    target = np.asarray(fcos.centerness(jnp.asarray(distances)))
    logits = np.full((80, 3), -30.0, np.float32)
    logits[foreground, np.asarray(labels)[matched][foreground]] = 30
    outputs = Outputs(
        jnp.asarray(logits),
        jnp.asarray(distances / grid.strides[:, None]),
        jnp.asarray(np.log(target / (1 - target + 1e-9) + 1e-9)),
    )
    sums = fcos.image_losses(outputs, grid, boxes, labels, valid, regress_range=2)
    assert float(sums["classification"]) == pytest.approx(0, abs=1e-6)
    assert float(sums["box"]) == pytest.approx(0, abs=1e-5)
    o = target[foreground]
    entropy = -(o * np.log(o) + (1 - o) * np.log1p(-o)).sum()
    assert float(sums["centerness"]) == pytest.approx(entropy, rel=1e-3)
    detections = fcos.postprocess(outputs, grid, (64, 64), score_thresh=0.2, nms_thresh=0.6, detections_per_img=5)
    np.testing.assert_array_equal(np.asarray(detections["valid"]).sum(), 2)
    order = np.argsort(-np.asarray(detections["labels"][:2]))
    np.testing.assert_allclose(detections["boxes"][order], boxes[:2], atol=1e-4)
    np.testing.assert_array_equal(detections["labels"][order], [2, 0])


# The learner


class Small(nn.Module):
    """Two maps, of strides 8 and 16."""

    axis_name: str | None = REPLICA

    @nn.compact
    def features(self, x, train=False):
        x = nn.relu(Conv(4, (3, 3), 8, padding=1, name="first")(x))
        x = BatchNorm(not train, axis_name=self.axis_name, name="norm")(x)
        return {"fine": x, "coarse": nn.relu(Conv(6, (3, 3), 2, padding=1, name="second")(x))}


def build(**settings):
    model = FCOS(
        Small(),
        3,
        ("fine", "coarse"),
        channels=4,
        extra_blocks="none",
        num_convs=1,
        num_groups=2,
        distance_activation="exp",
    )
    settings = {"detections_per_img": 5, "topk_candidates": 20, "regress_range": 3.0, **settings}
    return fcos.learner(model=model, optimizer=optax.sgd(0.05), **arguments_of(fcos.learner, **settings))


@pytest.fixture(scope="module")
def learner():
    return jitted(build())


@pytest.fixture(scope="module")
def state(learner):
    return learner.init(jax.random.key(0), source(6)[:])


@pytest.mark.weekly
def test_the_scale_of_a_level_multiplies_its_exponents():
    model = FCOS(Small(), 3, ("fine", "coarse"), 4, "none", 1, 2, "exp")
    x = jax.random.normal(jax.random.key(1), (1, 32, 32, 3))
    (before, _), variables = model.init_with_output(jax.random.key(0), x)
    assert (variables["params"]["scale0"], variables["params"]["scale1"]) == (1, 1)
    params = {**variables["params"], "scale1": jnp.float32(3)}
    after, _ = model.apply({**variables, "params": params}, x)
    np.testing.assert_array_equal(after.distances[0, :16], before.distances[0, :16])  # the fine level's 4 x 4 locations
    np.testing.assert_allclose(after.distances[0, 16:], before.distances[0, 16:] ** 3, rtol=1e-4)  # exp(3 z)
    assert np.ptp(before.distances[0, 16:]) > 1e-3


@pytest.mark.weekly
@pytest.mark.covers("DE-19")
def test_an_image_without_a_box_has_finite_losses_and_gradients(learner, state):
    rows = source(6)[:]
    rows["box_mask"][:] = False
    (value, metrics), gradient = jax.jit(jax.value_and_grad(learner.loss, has_aux=True))(state.params, state, rows)
    assert np.isfinite(value)
    assert float(value) > 0  # the classes are still learned
    chex.assert_tree_all_finite(gradient)
    assert metrics["loss"].compute() is None  # nothing to divide by: blank, not infinite
    after, _ = learner.update(state, rows)
    chex.assert_tree_all_finite(after.params)
    detections = learner.predict(state, rows)
    assert {k: v.shape for k, v in detections.items()} == {
        "boxes": (6, 5, 4),
        "scores": (6, 5),
        "labels": (6, 5),
        "valid": (6, 5),
    }


@pytest.mark.weekly
def test_padding_of_boxes_and_of_examples_changes_nothing(learner, state):
    rows = source(6)[:]
    plain = learner.evaluate(state, rows)
    wild = {k: np.concatenate([v, v[:2]]) for k, v in rows.items()}
    wild["image"][6:], wild["mask"] = np.nan, np.r_[np.ones(6), np.zeros(2)]
    wild["boxes"] = np.where(wild["box_mask"][..., None], wild["boxes"], 1e6)
    wild["labels"] = np.where(wild["box_mask"], wild["labels"], 99)
    padded = learner.evaluate(state, wild)
    for name, metric in plain.items():
        assert padded[name].compute() == pytest.approx(metric.compute(), rel=1e-5)
        assert padded[name].count == metric.count
    chex.assert_trees_all_close(
        jax.tree.map(lambda x: x[:6], learner.predict(state, wild)), learner.predict(state, rows), atol=1e-5
    )


@pytest.mark.weekly
@pytest.mark.parametrize("spmd", ["jit", "pmap"])
def test_eight_devices_equal_one(spmd):
    """Images have different numbers of boxes, so the losses' divisor must be the whole batch's."""
    placements = (Placement(make_mesh("data:1", jax.devices()[:1])), Placement(make_mesh("data:8"), spmd=spmd))
    one, eight = (fit(build(), Pipeline(source(32), 16), steps=2, placement=p, progress=False) for p in placements)
    chex.assert_trees_all_close(
        jax.device_get(one.state.params), jax.device_get(eight.state.params), rtol=1e-4, atol=1e-6
    )


@pytest.mark.slow
def test_metrics_do_not_depend_on_the_batch_split(learner, state):
    data = source(9)
    placement = Placement(make_mesh("data:1", jax.devices()[:1]))
    whole, parts = (evaluate(learner, state, data, batch_size=size, placement=placement) for size in (9, 4))
    chex.assert_trees_all_close(whole, parts, rtol=1e-5)


@pytest.mark.slow
def test_only_training_is_augmented(state):
    def drop_all(key, example):
        return {**example, "box_mask": example["box_mask"] & False}

    augmented, rows = jitted(build(augment=drop_all)), source(6)[:]
    assert augmented.update(state, rows)[1]["loss"].count == 0
    assert augmented.evaluate(state, rows)["loss"].count > 0


def test_unknown_stages_are_named():
    model = FCOS(Small(), 3, ("fine", "middle"))
    with pytest.raises(ValueError, match=r"\['middle'\].*\['fine', 'coarse'\]"):
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3))))


@pytest.mark.weekly
def test_centerness_at_an_edge_has_a_finite_gradient():
    distances = jnp.array([[0.0, 1, 2, 1], [1, 1, 1, 1], [0, 0, 0, 0], [1, 4, 1, 1]])
    np.testing.assert_allclose(fcos.centerness(distances), [0, 1, 0, 0.5])
    assert np.isfinite(jax.grad(lambda d: fcos.centerness(d).sum())(distances)).all()


def test_the_wiring_of_fcos_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        FCOS(Small(), 2, ("fine", "coarse"), channels=4, num_convs=1, num_groups=2), (2, 16, 24, 3), [83.872, 17.6153]
    )
