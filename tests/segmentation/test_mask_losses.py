"""Mask losses at points by hand, gradients included, the matching against SciPy, and where points lie."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from dlcore.segmentation.mask_losses import (
    MaskLossWeights,
    PointSampling,
    image_losses,
    important_points,
    match_masks,
    point_losses,
    sample_masks,
)


def test_masks_are_interpolated_between_pixels_and_end_at_the_border():
    """Centers of a 2 x 2 mask lie at 1/4 and 3/4: the middle is the mean, the outer quarters are the pixels'."""
    masks = jnp.array([[[0.0], [1.0]], [[2.0], [3.0]]])[None]
    points = jnp.array([[[0.5, 0.5], [0.25, 0.25], [0.0, 0.0], [1.0, 0.5], [0.5, 0.25]]])

    @jax.jit
    def run(masks):
        values = sample_masks(masks, points)[0, :, 0]
        return values[4], values

    (_, values), gradient = jax.value_and_grad(run, has_aux=True)(masks)
    np.testing.assert_allclose(values, [1.5, 0, 0, (1 + 3) / 2, (0 + 1) / 2], atol=1e-6)
    np.testing.assert_allclose(gradient[0, ..., 0], [[0.5, 0.5], [0, 0]], atol=1e-6)


@pytest.mark.covers("SG-15")
def test_points_lie_where_a_mask_is_uncertain():
    """The left half has logits 0, the right +-9: of 3 x 16 random points the 12 uncertain ones are all on the left."""
    logits = jnp.concatenate([jnp.zeros((1, 4, 4)), jnp.array([9.0, -9, 9, -9]).reshape(1, 4, 1) * jnp.ones(4)], 2)
    sampling = PointSampling(16, 3.0, 0.75)

    @jax.jit
    def run(logits, key):
        points = important_points(key, logits, sampling)
        return points.sum(), points

    (_, points), gradient = jax.value_and_grad(run, has_aux=True)(logits, jax.random.key(0))
    assert not gradient.any()
    chex.assert_shape(points, (1, 16, 2))
    assert (points[0, :12, 0] < 0.5).all()
    assert (points[0, 12:, 0] > 0.5).any()  # the other four may be anywhere
    draw = jax.jit(important_points, static_argnums=2)
    by_chance = draw(jax.random.key(0), logits, sampling._replace(importance_sample_ratio=0.0))
    assert (by_chance[0, :12, 0] > 0.5).any()


@pytest.mark.covers("SG-15")
def test_losses_at_points_and_their_gradients_by_hand():
    """BCE' = (p - y) / P;  Dice = 1 - (2 a + 1) / b with a = sum p y, b = sum p + sum y + 1."""
    logits, targets = np.array([0.5, -1.0, 2.0, 0.0]), np.array([1.0, 0.0, 0.25, 1.0])
    p = 1 / (1 + np.exp(-logits))
    a, b = (p * targets).sum(), p.sum() + targets.sum() + 1
    cross_entropy = -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean()
    losses = jax.jit(lambda x: jnp.stack(point_losses(x, jnp.array(targets))))
    pair = losses(jnp.array(logits))
    np.testing.assert_allclose(pair, [cross_entropy, 1 - (2 * a + 1) / b], rtol=1e-5)
    gradients = jax.jit(jax.jacrev(losses))(jnp.array(logits))
    np.testing.assert_allclose(gradients[0], (p - targets) / 4, rtol=1e-4)
    slope = -(2 * targets * b - (2 * a + 1)) / b**2
    np.testing.assert_allclose(gradients[1], slope * p * (1 - p), rtol=1e-4, atol=1e-7)


@pytest.mark.covers("SG-15")
def test_the_match_is_scipys_on_costs_in_float64():
    rng = np.random.default_rng(0)
    class_logits, logits = rng.normal(size=(6, 4)), 2 * rng.normal(size=(9, 6))
    targets, labels = rng.integers(0, 2, (9, 5)).astype(float), np.array([0, 2, 1, 1, -1])
    weights = MaskLossWeights(2.0, 3.0, 4.0)
    arrays = (np.float32(class_logits), np.float32(logits), np.float32(targets), labels, labels >= 0)
    matched = jax.jit(match_masks)
    match = np.asarray(matched(*arrays, weights))
    probs, p = np.exp(class_logits) / np.exp(class_logits).sum(1, keepdims=True), 1 / (1 + np.exp(-logits))
    costs = np.zeros((3, 6, 4))
    for q in range(6):
        for m in range(4):
            y = targets[:, m]
            cross_entropy = -(y * np.log(p[:, q]) + (1 - y) * np.log(1 - p[:, q])).mean()
            dice = 1 - (2 * (p[:, q] * y).sum() + 1) / (p[:, q].sum() + y.sum() + 1)
            costs[:, q, m] = -probs[q, labels[m]], cross_entropy, dice
    rows, columns = linear_sum_assignment(2 * costs[0] + 3 * costs[1] + 4 * costs[2])
    np.testing.assert_array_equal(match[columns], rows)
    assert match[4] == -1
    # Each part alone decides where the others weigh nothing.
    for part, cost in enumerate(costs):
        alone = np.asarray(matched(*arrays, MaskLossWeights(*(float(i == part) for i in range(3)))))
        best = cost[linear_sum_assignment(cost)].sum()
        assert cost[alone[:4], np.arange(4)].sum() == pytest.approx(best, rel=1e-5)


@pytest.mark.covers("SG-15")
def test_losses_of_an_image_by_hand():
    """Masks that are constant over the image do not depend on the points; one mask is true everywhere, one is padding.

    Two layers, three queries, one class. In the first layer query 2 has the mask, in the last query 0.
    """
    scores, num_points = np.array([[-2.0, -1.0, 1.5], [2.0, -1.0, -3.0]]), 4
    class_logits = np.array([[[0.0, 1.0], [0.5, 0.0], [1.0, 0.0]], [[2.0, 0.0], [0.0, 0.0], [0.0, 1.0]]])
    masks = jnp.stack([jnp.ones((4, 6), bool), jnp.zeros((4, 6), bool)])
    mask_logits = jnp.asarray(np.broadcast_to(scores[:, None, None], (2, 2, 3, 3)), jnp.float32)
    truth = masks, jnp.array([0, 0]), jnp.array([True, False]), jax.random.key(3)
    options = {"weights": MaskLossWeights(2.0, 3.0, 4.0, 0.2), "sampling": PointSampling(num_points, 2.0, 0.5)}
    arrays = jnp.asarray(class_logits, jnp.float32), mask_logits, *truth
    sums = jax.jit(partial(image_losses, **options))(*arrays)
    for name, layer, owner in (("auxiliary_", 0, 2), ("", 1, 0)):
        s = scores[layer, owner]
        p = 1 / (1 + np.exp(-s))
        dice = 1 - (2 * num_points * p + 1) / (num_points * p + num_points + 1)
        assert float(sums[f"{name}mask"]) == pytest.approx(-3 * np.log(p), rel=1e-5)
        assert float(sums[f"{name}dice"]) == pytest.approx(4 * dice, rel=1e-5)
        label, weight = np.where(np.arange(3) == owner, 0, 1), np.where(np.arange(3) == owner, 1, 0.2)
        z = class_logits[layer]
        nats = np.log(np.exp(z).sum(1)) - z[np.arange(3), label]
        total, weight_sum = sums[f"{name}classification"]
        assert float(total) == pytest.approx(2 * (weight * nats).sum(), rel=1e-5)
        assert float(weight_sum) == pytest.approx(1.4, rel=1e-6)
    assert int(sums["num_foreground"]) == 1
    last = jax.eval_shape(partial(image_losses, **options, auxiliary=False), *arrays)
    assert set(last) == {"classification", "mask", "dice", "num_foreground"}


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"points"):
        sample_masks(jnp.zeros((1, 2, 2, 1)), jnp.zeros((1, 3, 3)))
