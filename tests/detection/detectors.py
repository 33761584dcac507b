"""What the tests of detectors share: a small backbone, boxes by chance, and torchvision's goldens."""

import importlib.util
import json
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.source import Source
from dlcore.detection.anchors import Anchors
from dlcore.detection.denoising import Targets
from dlcore.detection.detr import DETR
from dlcore.detection.single_stage import Outputs
from dlcore.learner import ModelState
from dlcore.models.resnet import BasicBlock, ResNet
from dlcore.nn import Conv
from tests.models.tracing import layers_traced_once

__all__ = [
    *("GOLDENS", "TARGETS", "TINY_DETR", "Golden", "Image", "SixAnchors", "Small", "check_mined_update", "encoded"),
    *("jitted", "mined_step", "parameters", "source"),
]

GOLDENS = Path(__file__).parents[1] / "goldens"
_SPEC = importlib.util.spec_from_file_location("det_weights", GOLDENS / "det_weights.py")
RULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(RULE)


class Golden:
    """A detector of the goldens: its weights, its input, its targets and what came out."""

    def __init__(self, name):
        self.arrays = np.load(GOLDENS / f"{name}.npz")
        self.meta = json.loads(str(self.arrays["meta"]))
        self.weights = RULE.det_state_dict(self.meta)

    def images(self, key="x"):
        return RULE.det_input(self.meta["inputs"][key]).transpose(0, 2, 3, 1)

    def targets(self):
        """(boxes [N, 5, 4], labels, valid [N, 5])."""
        rows = self.meta["inputs"]["targets"]
        boxes, labels = np.zeros((len(rows), 5, 4), np.float32), np.full((len(rows), 5), -1, np.int32)
        for i, row in enumerate(rows):
            boxes[i, : len(row["labels"])], labels[i, : len(row["labels"])] = row["boxes"], row["labels"]
        return boxes, labels, labels >= 0

    def check(self, got, name, tolerance=1e-4):
        """Compare all values that are stored."""
        expected = self.meta["outputs"][name]
        assert list(got.shape) == expected["shape"]
        got = np.asarray(got).reshape(-1)[:: expected["stride"]]
        limit = tolerance * max(expected["std"], 1e-6)
        np.testing.assert_allclose(got, self.arrays[name].reshape(-1), atol=limit, err_msg=name)

    def number(self, name):
        return float(self.arrays[name].reshape(-1)[0])


def parameters(model, size=(64, 64)):
    """Count a detector's parameters as torchvision does: it freezes batch norm, and has no classifier of a backbone."""
    with layers_traced_once():
        shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *size, 3)))
    frozen = {str(path[:-1]) for path, _ in jax.tree_util.tree_leaves_with_path(shapes.get("batch_stats", {}))}
    return sum(
        leaf.size
        for path, leaf in jax.tree_util.tree_leaves_with_path(shapes["params"])
        if str(path[:-1]) not in frozen and "['backbone']['head']" not in jax.tree_util.keystr(path)
    )


TINY_DETR = DETR(
    ResNet(stages=(1, 1), block=BasicBlock, width=8),
    5,
    "layer2",
    num_queries=6,
    features=32,
    num_heads=4,
    hidden_features=64,
    encoder_layers=2,
    decoder_layers=2,
)


class Small(nn.Module):
    """Two maps, of strides 8 and 16."""

    @nn.compact
    def features(self, x, train=False):
        x = nn.relu(Conv(4, (3, 3), 8, padding=1, name="first")(x))
        return {"fine": x, "coarse": nn.relu(Conv(6, (3, 3), 2, padding=1, name="second")(x))}


class Image(nn.Module):
    """The image as the only map: what follows a backbone is wired alone."""

    def features(self, x, train=False):
        return {"only": x}


TARGETS = Targets(
    np.array([[[0.5, 0.5, 0.2, 0.4], [0.3, 0.3, 0.2, 0.2]], [[0.6, 0.6, 0.4, 0.4], [0.0, 0, 0, 0]]], np.float32),
    np.array([[1, 2], [0, -1]]),
    np.array([[True, True], [True, False]]),
)
"""True boxes in center and size of two images; the last is padding."""


def source(count):
    """Images of 32 x 32 with none to three boxes."""
    rng = np.random.default_rng(0)
    corner, size = rng.uniform(0, 16, (count, 3, 2)), rng.uniform(6, 30, (count, 3, 2))
    valid = np.arange(3) < rng.integers(0, 4, count)[:, None]
    return Source(
        {
            "image": rng.normal(size=(count, 32, 32, 3)).astype(np.float32),
            "boxes": np.concatenate([corner, np.minimum(corner + size, 32)], -1).astype(np.float32) * valid[..., None],
            "labels": np.where(valid, rng.integers(0, 3, (count, 3)), -1).astype(np.int32),
            "box_mask": valid,
        }
    )


def jitted(learner):
    functions = ("init", "update", "evaluate", "predict", "loss")
    return learner._replace(**{name: jax.jit(getattr(learner, name)) for name in functions})


def encoded(boxes, anchors, weights=(10, 10, 5, 5)):
    """Deltas in NumPy: 10 (b_x - a_x) / a_w, ..., 5 log(b_w / a_w), ...; boxes and anchors are corners."""
    boxes, anchors = (np.asarray(x, np.float64) for x in (boxes, anchors))
    sides, base = boxes[..., 2:] - boxes[..., :2], anchors[..., 2:] - anchors[..., :2]
    move = (boxes[..., :2] + sides / 2 - anchors[..., :2] - base / 2) / base
    return np.concatenate([move, np.log(sides / base)], -1) * weights


def mined_step(before, scale, anchors, boxes, labels, positives, candidates, count, rate):
    """One step of gradient descent on SSD's loss in NumPy, of outputs `scale * before` of each image.

    positives: {anchor: box} of each image; candidates: anchors that may be hard negatives; count: how many of them are.
    Returns the new logits and deltas, and the classification and box losses.
    """
    total = sum(map(len, positives))
    slopes, losses = {name: np.zeros(value.shape) for name, value in before.items()}, np.zeros(2)
    for i, s in enumerate(scale):
        p = np.exp(s * before["logits"])
        p /= p.sum(-1, keepdims=True)
        hard = sorted(candidates[i], key=lambda a, p=p: p[a, 0])[: count[i]]  # the largest -log p of background
        for a in (*positives[i], *hard):
            target = 1 + labels[i][positives[i][a]] if a in positives[i] else 0
            losses[0] -= np.log(p[a, target]) / total
            slopes["logits"][a] += s * (p[a] - np.eye(p.shape[-1])[target]) / total
        for a, m in positives[i].items():
            error = s * before["deltas"][a] - encoded(boxes[i][m], anchors[a])
            losses[1] += np.where(np.abs(error) < 1, error**2 / 2, np.abs(error) - 0.5).sum() / total
            slopes["deltas"][a] += s * np.clip(error, -1, 1) / total
    return {name: before[name] - rate * slopes[name] for name in before}, losses


class SixAnchors(nn.Module):
    """Outputs for six anchors, in proportion to the one number of an image."""

    ANCHORS = Anchors(
        np.float32([[0, 0, 8, 8], [8, 0, 16, 8], [0, 8, 8, 16], [8, 8, 16, 16], [0, 0, 8, 17], [40, 40, 48, 48]]), (6,)
    )

    @nn.compact
    def __call__(self, images, train=False):
        logits, deltas = (self.param(n, nn.initializers.zeros, (6, k)) for n, k in (("logits", 3), ("deltas", 4)))
        return Outputs(images[:, 0] * logits, images[:, 0] * deltas), self.ANCHORS


def check_mined_update(learner, own, rate, factor=1):
    """Check an update of SGD whose images are multiplied by `factor`; `own` are the candidates of the first image.

    Entropy and smooth L1 of positives and the two hardest negatives of each, over the two positives of the batch. The
    fifth anchor overlaps a box by 0.47. The second box has an IoU of 64 / 144 with its best anchor alone; the third
    image has no object, and two negatives; the fourth does not count.
    """
    rng = np.random.default_rng(0)
    before = {"logits": rng.normal(size=(6, 3)), "deltas": rng.normal(size=(6, 4))}
    before["logits"][4, 0] = -3  # the hardest negative, if it is one
    before = jax.tree.map(np.float32, before)
    scale = np.array([1.0, 0.7, 1.3, 2.0], np.float32)
    boxes = np.array([[[0, 0, 8, 8]], [[8, 8, 20, 20]], [[0, 0, 8, 8]], [[0, 0, 8, 8]]], np.float32)
    batch = {
        "image": scale.reshape(4, 1, 1, 1) / factor,
        "boxes": boxes,
        "labels": np.array([[1], [0], [0], [0]]),
        "box_mask": np.array([[True], [True], [False], [True]]),
        "mask": np.array([1, 1, 1, 0], np.float32),
        "index": np.arange(4),
    }
    state = ModelState(np.int32(0), jax.random.key(0), before, optax.sgd(rate).init(before), {})
    after, metrics = jax.jit(learner.update)(state, batch)
    every = set(range(6))
    new, losses = mined_step(
        before, scale[:3], SixAnchors.ANCHORS.boxes, boxes, batch["labels"], [{0: 0}, {3: 0}, {}],
        [own, every - {3}, every], [2, 2, 2], rate,
    )  # fmt: skip
    chex.assert_trees_all_close(after.params, new, rtol=1e-4, atol=1e-5)
    assert metrics["classification"].compute() == pytest.approx(losses[0], rel=1e-5)
    assert metrics["box"].compute() == pytest.approx(losses[1], rel=1e-5)
