"""Overlap losses: by hand, their special cases, empty masks and void pixels."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.losses import dice_loss, multiclass_dice_loss, multiclass_tversky_loss, tversky_loss

HALF, THREE = 0.0, math.log(3.0)  # sigmoid 1/2, 3/4
LOGITS, TARGET = jnp.array([[THREE, THREE], [-THREE, HALF]]), jnp.array([[1.0, 1], [0, 0]])  # p = 3/4, 3/4, 1/4, 1/2


@pytest.mark.covers("LO-24")
def test_dice_and_tversky_by_hand():
    # TP = 3/4 + 3/4 = 3/2; FP = 1/4 + 1/2 = 3/4; FN = 1/4 + 1/4 = 1/2.
    # Dice 1 - (3 + 1) / (3 + 5/4 + 1) = 1 - 4 / 5.25; without smoothing 1 - 3 / 4.25.
    assert float(dice_loss(LOGITS, TARGET)) == pytest.approx(1 - 4 / 5.25, rel=1e-6)
    assert float(dice_loss(LOGITS, TARGET, 0.0)) == pytest.approx(1 - 3 / 4.25, rel=1e-6)
    # Tversky, alpha 0.2, beta 0.6: 1 - (3/2 + 1) / (3/2 + 0.15 + 0.3 + 1)
    assert float(tversky_loss(LOGITS, TARGET, 0.2, 0.6)) == pytest.approx(1 - 2.5 / 2.95, rel=1e-6)


@pytest.mark.covers("LO-24")
def test_tversky_contains_dice_and_jaccard_and_weighs_misses():
    assert float(tversky_loss(LOGITS, TARGET, 0.5, 0.5, 0.5)) == pytest.approx(float(dice_loss(LOGITS, TARGET)))
    # alpha = beta = 1: 1 - 1.5 / (1.5 + 0.75 + 0.5)
    assert float(tversky_loss(LOGITS, TARGET, 1.0, 1.0, 0.0)) == pytest.approx(1 - 1.5 / 2.75, rel=1e-6)
    missed, extra = jnp.array([[-9.0, 9, -9]]), jnp.array([[9.0, 9, 9]])
    truth = jnp.array([[1.0, 1, 0]])
    assert tversky_loss(missed, truth) > tversky_loss(extra, truth)
    assert tversky_loss(missed, truth, 0.9, 0.1) < tversky_loss(extra, truth, 0.9, 0.1)


@jax.jit
def both_losses(logits, targets):
    return [jax.value_and_grad(loss)(logits, targets) for loss in (dice_loss, tversky_loss)]


@pytest.mark.covers("LO-24")
@pytest.mark.parametrize("logit", [-1e4, -5.0, 0.0, 1e4])
def test_empty_masks_are_finite(logit):
    for target in np.zeros((2, 2), np.float32), np.ones((2, 2), np.float32):
        found = both_losses(np.full((2, 2), logit, np.float32), target)
        assert all(np.isfinite(part).all() for pair in found for part in pair)
        if logit == -1e4 and not target.any():
            assert float(found[0][0]) == 0


def test_void_pixels_do_not_count():
    mask = np.array([[1, 0], [1, 1]])
    cut = dice_loss(LOGITS[mask > 0][None], TARGET[mask > 0][None])
    assert float(dice_loss(LOGITS, TARGET, mask=mask)) == pytest.approx(float(cut))


def test_many_classes_by_hand():
    # Two pixels, two classes, p = (3/4, 1/4) and (1/2, 1/2), labels 0 and 1, without smoothing:
    # class 0: TP 3/4, FP 1/2, FN 1/4: 1 - 1.5 / 2.25 = 1/3;   class 1: TP 1/2, FP 1/4, FN 1/2: 1 - 1 / 1.75 = 3/7.
    logits, labels = jnp.array([[[THREE, 0], [0, 0]]]), jnp.array([[0, 1]])
    assert float(multiclass_dice_loss(logits, labels, 0.0)) == pytest.approx((1 / 3 + 3 / 7) / 2, rel=1e-6)
    assert float(multiclass_dice_loss(1e4 * jax.nn.one_hot(labels, 2), labels)) == pytest.approx(0, abs=1e-6)


def test_multiclass_tversky_weighs_missed_pixels_more():
    # Predicted 0 0 1 1 for a truth of 0 1 1 1. Class 0: hit 1, extra 1, missed 0; class 1: hit 2, extra 0, missed 1.
    logits, labels = 1e4 * np.eye(2, dtype=np.float32)[[[0, 0, 1, 1]]], np.array([[0, 1, 1, 1]])

    @jax.jit
    def run(logits):
        losses = [multiclass_tversky_loss(logits, labels, *settings) for settings in ((0.3, 0.7, 0.0), (0.5, 0.5, 0.5))]
        return *losses, multiclass_dice_loss(logits, labels)

    weighed, even, dice = run(logits)
    want = (1 - 1 / (1 + 0.3) + 1 - 2 / (2 + 0.7)) / 2
    assert float(weighed) == pytest.approx(want, rel=1e-6)
    assert float(even) == pytest.approx(float(dice), rel=1e-6)
