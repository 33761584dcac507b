"""Segmentation of volumes: patches by hand, one update by hand, windows that tile to the whole, Dice by hand."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.pipeline import Pipeline
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.learner import ModelState
from dlcore.run import Placement, evaluate, fit, make_mesh
from dlcore.segmentation import volumes
from dlcore.segmentation.volumes import OrganDice, patch_start
from experiments.segmentation.volumes import experiment
from tests.derivatives import slopes


class Pointwise(nn.Module):
    """Logits w x + b of each voxel by itself, of three classes."""

    @nn.compact
    def __call__(self, x, train=False):
        w = self.param("w", nn.initializers.ones, (3,))
        return w * x + self.param("b", nn.initializers.zeros, (3,))


@partial(jax.jit, static_argnums=2)
def _starts(labels, foreground, window):
    keys = jax.random.split(jax.random.key(0), 300)
    return jax.vmap(lambda key: patch_start(key, labels, window, 3, foreground))(keys)


def starts(labels, window, foreground):
    return np.asarray(_starts(labels, foreground, window))


@pytest.mark.slow
@pytest.mark.covers("SG-19")
def test_patches_are_centered_on_organs_as_far_as_the_edge_allows():
    # The center of a window (2, 4, 2) is its voxel (1, 2, 1): (1, 2, 3) - (1, 2, 1).
    labels = np.zeros((4, 6, 6), np.uint8)
    labels[1, 2, 3] = 2
    assert (starts(labels, (2, 4, 2), 1.0) == (0, 0, 2)).all()
    # (0, 5, 0) - (1, 2, 1) = (-1, 3, -1); the window of height 4 starts at 6 - 4 = 2 at most.
    labels[:] = 0
    labels[0, 5, 0] = 1
    assert (starts(labels, (2, 4, 2), 1.0) == (0, 2, 0)).all()


@pytest.mark.slow
@pytest.mark.covers("SG-19")
def test_each_organ_has_the_same_chance_and_void_has_none():
    labels = np.zeros((4, 6, 6), np.uint8)
    labels[1:3, 1:3, 1:6], labels[3, 5, 5], labels[0] = 1, 2, 255
    chosen = starts(labels, (1, 1, 1), 1.0)
    classes = labels[tuple(chosen.T)]
    # 20 voxels and 1 voxel; a half has the deviation sqrt(0.25 / 300) = 0.029.
    assert set(classes) == {1, 2}
    assert abs((classes == 2).mean() - 0.5) < 0.12
    assert len(np.unique(chosen[classes == 1], axis=0)) == 20


@pytest.mark.covers("SG-19")
def test_the_other_patches_lie_anywhere():
    labels = np.zeros((3, 3, 1), np.uint8)
    labels[0, 0, 0] = 1
    chosen = starts(labels, (2, 2, 1), 0.0)
    assert {tuple(start) for start in chosen.tolist()} == {(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0)}
    # A share of 0.6 is (0, 0, 0) by its organ, a quarter of the rest by chance: 0.7; three deviations are 0.08.
    assert abs((starts(labels, (2, 2, 1), 0.6) == 0).all(1).mean() - 0.7) < 0.08
    # Without an organ all lie anywhere.
    assert len(np.unique(starts(labels * 0, (2, 2, 1), 1.0), axis=0)) == 4


def batch(size=(2, 3, 4)):
    rng = np.random.default_rng(0)
    semantic = rng.integers(0, 3, (3, *size)).astype(np.uint8)
    semantic[0, 0, 0, 0] = 255
    image = rng.normal(size=(3, *size, 1)).astype(np.float32)
    return {"image": image, "semantic": semantic, "index": np.arange(3), "mask": np.array([1, 1, 0])}


def double(volumes):
    return 2 * volumes


def halved(rows):
    return rows | {"image": rows["image"] / 2}


def state_of(learner, rate=0.1):
    params = {"w": np.array([0.5, -1.0, 2.0], np.float32), "b": np.array([0.3, 0.0, -0.2], np.float32)}
    return ModelState(np.int32(0), jax.random.key(0), params, optax.sgd(rate).init(params), {})


def expected_loss(params, rows, dice_weight):
    """Cross-entropy of the 2 * 24 - 1 voxels that count, and the mean of two volumes' Dice losses over classes."""
    crosses, dices = [], []
    for image, labels in zip(rows["image"][:2, ..., 0], rows["semantic"][:2], strict=True):
        x, y = image[labels != 255], labels[labels != 255]
        scores = np.exp(params["w"] * x[:, None] + params["b"])
        p, q = scores / scores.sum(1, keepdims=True), np.eye(3)[y]
        crosses.append(-np.log((p * q).sum(1)))
        dices.append(1 - ((2 * (p * q).sum(0) + 1) / (p.sum(0) + q.sum(0) + 1)).mean())
    return np.concatenate(crosses).mean() + dice_weight * np.mean(dices)


@pytest.mark.covers("SG-19")
def test_one_update_by_hand():
    """The window is the whole volume; a void voxel and a padded example count for nothing."""
    learner = volumes.learner(
        model=Pointwise(), optimizer=optax.sgd(0.1), preprocess=double, window=(2, 3, 4), dice_weight=0.7
    )
    state, rows = state_of(learner), batch()
    after, metrics = jax.jit(learner.update)(state, halved(rows))
    value = expected_loss(state.params, rows, 0.7)
    for name, slope in slopes(lambda params: expected_loss(params, rows, 0.7), state.params).items():
        np.testing.assert_allclose(after.params[name], state.params[name] - 0.1 * slope, rtol=0, atol=1e-6)
    total = metrics["loss"].compute() + 0.7 * metrics["overlap"].compute()
    assert total == pytest.approx(float(value), rel=1e-5)
    assert int(metrics["loss"].count) == 47


@pytest.mark.covers("SG-19")
def test_windows_tile_to_the_whole():
    """A network that looks at each voxel alone has the same loss, classes and Dice by windows as on the whole."""
    learner = volumes.learner(
        model=Pointwise(), optimizer=optax.sgd(0.1), preprocess=double, window=(2, 2, 3), overlap=0.5
    )
    rows = batch((3, 5, 4))
    state = state_of(learner)
    value, _ = jax.jit(learner.loss)(state.params, state, halved(rows))
    assert float(value) == pytest.approx(expected_loss(state.params, rows, 1.0), abs=1e-5)
    logits = np.asarray(state.params["w"]) * rows["image"] + np.asarray(state.params["b"])
    outputs = jax.jit(learner.predict)(state, halved(rows) | {"size": np.ones((3, 3), np.int32)})
    np.testing.assert_array_equal(outputs["classes"], logits.argmax(-1))
    chex.assert_trees_all_equal(outputs["size"], jnp.ones((3, 3), jnp.int32))
    metrics = jax.jit(learner.evaluate)(state, halved(rows))
    counts = rows["semantic"] != 255
    dice = [
        2 * ((a == k) & (b == k) & c).sum() / (((a == k) & c).sum() + (b == k).sum())
        for k in (1, 2)
        for a, b, c in zip(logits.argmax(-1)[:2], rows["semantic"], counts, strict=False)
    ]
    np.testing.assert_allclose(metrics["dice"].compute()[""], np.mean(dice), rtol=1e-6)


@pytest.mark.covers("SG-19")
def test_dice_by_organ_by_hand():
    """Organ 1: 2 * 1 / (2 + 1) in volume 0, 0 in volume 1; organ 2 is in no volume and has no part in the mean."""
    classes = np.array([[1, 1, 0, 1], [0, 0, 0, 0]]).reshape(2, 1, 1, 4)
    labels = np.array([[1, 0, 0, 1], [1, 0, 0, 0]]).reshape(2, 1, 1, 4)
    valid = np.array([[1, 1, 1, 0], [1, 1, 1, 1]], bool).reshape(2, 1, 1, 4)
    of = jax.jit(partial(OrganDice.of, num_classes=3))
    first, second = (of(classes[i : i + 1], labels[i : i + 1], valid[i : i + 1]) for i in (0, 1))
    values = first.merge(second).compute()
    assert values[""] == pytest.approx((2 / 3 + 0) / 2)
    np.testing.assert_allclose(values["by_organ"], [1 / 3, np.nan])
    assert of(classes[1:], classes[1:], valid[1:]).compute() is None


def test_a_window_larger_than_the_volumes_is_refused():
    learner = volumes.learner(model=Pointwise(), optimizer=optax.sgd(0.1), window=(4, 2, 2))
    message = r"window=\(4, 2, 2\): does not fit a volume of \(2, 3, 4\); allowed: sides up to its own"
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda b: learner.init(jax.random.key(0), b), batch())


@pytest.mark.weekly
@pytest.mark.covers("SG-19")
def test_the_page_finds_planted_organs():
    """Better than the best interval of intensity, with surfaces within a voxel's length; the page as it stands."""
    page = ResolvedRun(experiment, resolve(experiment, []))
    splits = experiment.run(page.flags).load()
    setup = page.training_of(splits)
    learner = setup.build()
    placement = Placement(make_mesh("data:1", jax.devices()[:1]))
    pipeline = Pipeline(splits.train, page.flags.batch_size)
    state = fit(learner, pipeline, steps=page.flags.steps, placement=placement, progress=False).state
    measures = setup.evaluators(splits, "test")
    numbers = evaluate(learner, state, splits.test, batch_size=8, placement=placement, evaluators=measures)
    assert numbers["dice"] > splits.spec["trivial"]["dice"][0] + 0.3
    assert numbers["surface_distance"] < 1.0
