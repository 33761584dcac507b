"""CenterNet: one heat map by hand, one update by hand, peaks without suppression, bad input."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from scipy.optimize import brentq

from dlcore.detection import center_net
from dlcore.detection.anchors import Grid
from dlcore.detection.center_net import CenterNet, Outputs
from dlcore.learner import ModelState
from tests.detection.detectors import Small
from tests.wiring import assert_wiring

GRID = Grid.of([(4, 4)], (16, 16))
"""Cells of 4 x 4 pixels, at 0, 4, 8 and 12 along both axes."""


def worst_iou(size, r):
    """Least IoU of a box with itself, after both corners moved by r: in one direction, inward, or outward."""
    w, h = size
    shared = (w - r) * (h - r)
    return min(shared / (2 * w * h - shared), (w - 2 * r) * (h - 2 * r) / (w * h), w * h / ((w + 2 * r) * (h + 2 * r)))


RADIUS = jax.jit(center_net.gaussian_radius)


@pytest.mark.parametrize("size", [(0.25, 0.25), (4.0, 4.0), (10.0, 3.0), (30.0, 50.0)])
def test_the_radius_leaves_an_iou_of_seven_tenths(size):
    radius = float(RADIUS(np.array(size, np.float32)))
    assert worst_iou(size, radius) == pytest.approx(0.7, abs=1e-5)
    assert worst_iou(size, 1.05 * radius) < 0.7


@pytest.mark.covers("DE-32")
def test_one_heat_map_by_hand():
    """A box of 2 x 2 cells with its center in cell (1, 2): for side 2 the inward shift is least, (2 - 2 r)^2 = 0.7 * 4,
    r = 1 - sqrt(0.7) = 0.16334. sigma = (2 r + 1) / 6 = 0.22111, so a neighbor has exp(-1 / (2 * 0.04889))."""
    boxes = np.array([[5, 1, 13, 9], [5, 1, 13, 9], [0, 0, 16, 16]], np.float32)
    labels, valid = np.array([1, 1, 0]), np.array([True, True, False])
    heat, cells = jax.jit(center_net.target_heat_map, static_argnums=4)(GRID, boxes, labels, valid, 2)
    # The center (9, 5) lies in column 2 (8 to 12) and row 1 (4 to 8).
    assert cells[:2].tolist() == [6, 6]
    sigma = (2 * (1 - np.sqrt(0.7)) + 1) / 6
    rows, columns = np.mgrid[:4, :4]
    expected = np.exp(-((columns - 2) ** 2 + (rows - 1) ** 2) / (2 * sigma**2))
    np.testing.assert_allclose(heat[:, 1].reshape(4, 4), expected, rtol=1e-4, atol=1e-9)
    np.testing.assert_array_equal(heat[:, 0], np.zeros(16))  # padding draws nothing


class Constant(nn.Module):
    """Parameters as outputs, for any image."""

    @nn.compact
    def __call__(self, x, train=False):
        parts = [self.param(name, nn.initializers.zeros, (4, 4, 2)) for name in Outputs._fields]
        return Outputs(*(jnp.broadcast_to(part, (len(x), 4, 4, 2)) for part in parts)), GRID


@pytest.mark.slow(unless=["evaluate"])
@pytest.mark.covers("DE-32")
@pytest.mark.parametrize("step", ["evaluate", "update"])
def test_one_step_by_hand(step):
    rate, rng = 0.1, np.random.default_rng(0)
    settings = {"alpha": 1.5, "beta": 3.0, "size_weight": 0.2, "offset_weight": 0.7}
    learner = center_net.learner(model=Constant(), optimizer=optax.sgd(rate), **settings)
    params = {name: rng.normal(size=(4, 4, 2)).astype(np.float32) for name in Outputs._fields}
    state = ModelState(np.int32(0), jax.random.key(0), params, optax.sgd(rate).init(params), {})
    boxes = np.array([[[5, 1, 13, 9], [0, 0, 0, 0]], [[0, 0, 6, 7], [8, 8, 16, 16]]], np.float32)
    batch = {
        "image": np.zeros((2, 16, 16, 3), np.float32),
        "boxes": boxes,
        "labels": np.array([[1, -1], [0, 1]]),
        "box_mask": np.array([[True, False], [True, True]]),
        "index": np.arange(2),
    }
    done = jax.jit(getattr(learner, step))(state, batch)
    after, metrics = done if step == "update" else (None, done)
    # Three objects: (image, label, row, column, size in cells, offset in cells).
    objects = [
        (0, 1, 1, 2, (2, 2), (0.25, 0.25)),
        (1, 0, 0, 0, (1.5, 1.75), (0.75, 0.875)),
        (1, 1, 3, 3, (2, 2), (0, 0)),
    ]
    y, x = np.mgrid[:4, :4]
    heat = np.zeros((2, 4, 4, 2))
    for image, label, row, column, size, _ in objects:
        radius = brentq(lambda r, size=size: worst_iou(size, r) - 0.7, 0, min(size) / 2)
        bump = np.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * ((2 * radius + 1) / 6) ** 2))
        heat[image, ..., label] = np.maximum(heat[image, ..., label], bump)

    def parts(params, xp=jnp):
        p = 1 / (1 + xp.exp(-params["logits"]))
        focal = xp.where(heat == 1, -((1 - p) ** 1.5) * xp.log(p), -((1 - heat) ** 3) * p**1.5 * xp.log(1 - p))
        errors = [
            sum(xp.abs(params[name][row, column] - np.array(values[k])).sum() for _, _, row, column, *values in objects)
            for k, name in enumerate(("sizes", "offsets"))
        ]
        return [focal.sum() / 3, 0.2 * errors[0] / 3, 0.7 * errors[1] / 3]

    expected = parts(params, np)
    for name, value in zip(("heat_map", "size", "offset"), expected, strict=True):
        assert metrics[name].compute() == pytest.approx(float(value), rel=1e-4), name
    assert metrics["loss"].compute() == pytest.approx(float(sum(expected)), rel=1e-4)
    if step == "update":
        gradients = jax.jit(jax.grad(lambda params: sum(parts(params))))(params)
        new = jax.tree.map(lambda p, g: p - rate * g, params, gradients)
        chex.assert_trees_all_close(after.params, new, rtol=1e-3, atol=1e-5)


@pytest.mark.covers("DE-32")
def test_detections_are_peaks_and_nothing_suppresses_boxes():
    """Two peaks of equal boxes stay; a cell beside a higher one is none, in its class alone."""
    logits = np.full((4, 4, 2), -9.0, np.float32)
    logits[1, 1, 0], logits[1, 2, 0], logits[1, 3, 0] = 3, 2, 1  # the second is beside the first, the third not a peak
    logits[3, 3, 1], logits[1, 2, 1] = 0, 1
    sizes, offsets = np.full((4, 4, 2), 2.0, np.float32), np.full((4, 4, 2), 0.5, np.float32)
    outputs = Outputs(*map(jnp.asarray, (logits, sizes, offsets)))
    postprocess = jax.jit(
        lambda outputs: center_net.postprocess(outputs, GRID, (16, 16), score_thresh=0.3, detections_per_img=5)
    )
    detections = jax.device_get(postprocess(outputs))
    assert detections["valid"].tolist() == [True] * 3 + [False] * 2
    assert detections["labels"].tolist() == [0, 1, 1, -1, -1]
    np.testing.assert_allclose(detections["scores"][:3], 1 / (1 + np.exp([-3.0, -1, 0])), rtol=1e-5)
    # The first: cell (1, 1), center (1.5, 1.5) cells, sides of 2 cells of 4 pixels.
    np.testing.assert_allclose(detections["boxes"][:3], [[2, 2, 10, 10], [6, 2, 14, 10], [10, 10, 16, 16]])


def test_bad_input_is_named():

    class Small(nn.Module):
        def features(self, x, train=False):
            return {"only": x}

    with pytest.raises(ValueError, match=r"stages=\['layer1'\]: not in the backbone; allowed: \['only'\]"):
        CenterNet(Small(), 2, ("layer1",)).init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))


def test_the_wiring_of_center_net_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(CenterNet(Small(), 2, ("fine", "coarse"), channels=4), (2, 16, 24, 3), [37.5803, 19.7298])
