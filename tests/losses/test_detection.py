"""Focal and overlap losses by hand and against torchvision."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.losses import detection as losses
from tests.derivatives import output_and_gradients

GOLDENS = Path(__file__).parents[1] / "goldens"
BOXES, MISC = (np.load(GOLDENS / f"{name}.npz") for name in ("tvops_boxes", "tvops_misc"))
FOCAL = {k: v["args"] for k, v in json.loads(str(MISC["meta"]))["cases"].items() if k.startswith("sigmoid_focal")}


@pytest.mark.covers("LO-11")
def test_focal_loss_by_hand():
    # p = 0.9: (1 - 0.9)^2 * -log 0.9 = 0.01 * 0.1053605
    sure = jnp.array([math.log(9.0)])
    assert float(losses.sigmoid_focal_loss(sure, jnp.ones(1), None)) == pytest.approx(0.0010536, abs=1e-7)
    assert float(losses.sigmoid_focal_loss(sure, jnp.ones(1), 0.25)) == pytest.approx(0.0002634, abs=1e-7)
    # The other answer: p = 0.1, so 0.81 * -log 0.1, weighed by 0.75.
    want = 0.75 * 0.9**2 * -math.log(0.1)
    assert float(losses.sigmoid_focal_loss(sure, jnp.zeros(1), 0.25)) == pytest.approx(want, rel=1e-6)


@pytest.mark.covers("LO-11")
def test_gamma_0_is_the_cross_entropy():
    logits, target = jnp.array([-3.0, 0.5, 40.0]), jnp.array([1.0, 0.0, 1.0])
    want = math.log1p(math.exp(3)) + math.log1p(math.exp(0.5)) + math.log1p(math.exp(-40))
    assert float(losses.sigmoid_focal_loss(logits, target, None, 0.0)) == pytest.approx(want, rel=1e-6)
    slope = jax.jit(jax.grad(losses.sigmoid_focal_loss))
    gradient = slope(jnp.array([200.0, -200.0, 200.0]), jnp.array([1.0, 0.0, 0.0]))
    assert np.isfinite(gradient).all()


@pytest.mark.slow(only=["*.none"])
@pytest.mark.covers("LO-11")
@pytest.mark.parametrize("case", FOCAL)
def test_focal_loss_equals_torchvision(case):
    alpha, gamma, reduction = (FOCAL[case][name] for name in ("alpha", "gamma", "reduction"))
    alpha = None if alpha == -1 else alpha
    x, t, want = (MISC[f"{case}/{k}"] for k in ("in.x", "in.t", "out"))
    if reduction == "none":
        ours = losses.sigmoid_focal_loss(x[..., None], t[..., None], alpha, gamma)
        np.testing.assert_allclose(ours, want, atol=1e-5 * float(want.std()))
        return
    share = 1 / x.size if reduction == "mean" else 1.0
    loss = jax.jit(jax.value_and_grad(lambda x: share * losses.sigmoid_focal_loss(x, t, alpha, gamma).sum()))
    value, gradient = loss(x)
    assert float(value) == pytest.approx(float(want), rel=2e-6)
    np.testing.assert_allclose(gradient, MISC[f"{case}/grad.x"], atol=1e-4 * MISC[f"{case}/grad.x"].std())


OVERLAP = {
    "generalized_box_iou_loss.none": losses.generalized_iou_loss,
    "distance_box_iou_loss.none": losses.distance_iou_loss,
    "complete_box_iou_loss.none": losses.complete_iou_loss,
}


@pytest.mark.slow(unless=["complete_box_iou_loss.none"])
@pytest.mark.covers("LO-13")
@pytest.mark.parametrize("case", OVERLAP)
def test_overlap_losses_equal_torchvision(case):
    out, found, _ = output_and_gradients(OVERLAP[case], *(BOXES[f"{case}/in.{k}"] for k in ("cot", "a", "b")))
    np.testing.assert_allclose(out, BOXES[f"{case}/out"], atol=1e-5 * BOXES[f"{case}/out"].std())
    gradient = BOXES[f"{case}/grad.a"]
    np.testing.assert_allclose(found, gradient, atol=1e-4 * gradient.std())


@pytest.mark.slow
@pytest.mark.covers("LO-13")
def test_iou_loss_and_its_gradient_equal_torchvision():
    a, b, cotangent, want = (jnp.asarray(BOXES[f"box_iou/{k}"]) for k in ("in.a", "in.b", "in.cot", "out"))
    out, pull = jax.vjp(lambda a: losses.iou_loss(*jnp.broadcast_arrays(a[:, None], b[None])), a)
    np.testing.assert_allclose(1 - out, want, atol=1e-5 * float(want.std()))
    gradient = BOXES["box_iou/grad.a"]
    np.testing.assert_allclose(-pull(cotangent)[0], gradient, atol=1e-4 * gradient.std())


@pytest.mark.covers("LO-13")
def test_overlap_losses_by_hand():
    box, near, far = jnp.array([0.0, 0, 2, 2]), jnp.array([1.0, 0, 3, 2]), jnp.array([3.0, 0, 5, 2])
    # near: 2 shared of 6; the hull 6 is filled. far: nothing shared; 8 of the hull's 10 are filled.
    assert float(losses.iou_loss(box, near)) == pytest.approx(1 - 2 / 6, abs=1e-6)
    assert float(losses.generalized_iou_loss(box, near)) == pytest.approx(1 - 2 / 6, abs=1e-6)
    assert float(losses.generalized_iou_loss(box, far)) == pytest.approx(1 + 2 / 10, abs=1e-6)
    # Centers 3 apart, the hull's diagonal squared 25 + 4: 1 + 9 / 29. near: 1 apart, 9 + 4: 2 / 3 + 1 / 13.
    assert float(losses.distance_iou_loss(box, far)) == pytest.approx(1 + 9 / 29, abs=1e-6)
    assert float(losses.distance_iou_loss(box, near)) == pytest.approx(2 / 3 + 1 / 13, abs=1e-6)
    # The same shape: v = 0. A wide box: v = 4 / pi^2 (atan 2 - atan 1)^2 = 0.041956, IoU 4 / 8, no distance of
    # centers: 1/2 + v^2 / (1/2 + v).
    assert float(losses.complete_iou_loss(box, far)) == pytest.approx(1 + 9 / 29, abs=1e-6)
    v = 4 / math.pi**2 * (math.atan(2) - math.pi / 4) ** 2
    assert v == pytest.approx(0.041956, abs=1e-6)
    wide = jnp.array([-1.0, 0, 3, 2])
    assert float(losses.complete_iou_loss(box, wide)) == pytest.approx(0.5 + v**2 / (0.5 + v), abs=1e-6)


@pytest.mark.covers("DE-33")
def test_distribution_focal_loss_and_the_expectation_by_hand():
    logits = jnp.log(jnp.array([[0.1, 0.2, 0.3, 0.4]] * 4))
    # 1.3 lies 0.3 of the way from value 1 to value 2; numbers outside count as 0 and as 3.
    loss = jax.jit(losses.distribution_focal_loss)(logits, jnp.array([1.3, 2.0, -5, 9]))
    expected = [-0.7 * math.log(0.2) - 0.3 * math.log(0.3), -math.log(0.3), -math.log(0.1), -math.log(0.4)]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert float(losses.distribution_expectation(logits[0])) == pytest.approx(0.2 + 2 * 0.3 + 3 * 0.4, rel=1e-6)
    # Values -2, -1, 1, 5: 2 is a quarter of the way from 1 to 5.
    values = jnp.array([-2.0, -1, 1, 5])
    loss = jax.jit(losses.distribution_focal_loss)(logits[0], jnp.array(2.0), values)
    assert float(loss) == pytest.approx(-0.75 * math.log(0.3) - 0.25 * math.log(0.4), rel=1e-5)
    assert float(losses.distribution_expectation(logits[0], values)) == pytest.approx(-0.2 - 0.2 + 0.3 + 2, rel=1e-6)


@pytest.mark.covers("DE-33")
def test_the_best_distribution_has_the_target_as_its_expectation():
    """The gradient S - target distribution vanishes at the weights of the two values, whose mean is the target."""
    logits = jnp.array([-30.0, math.log(0.75), math.log(0.25), -30])
    gradient = jax.jit(jax.grad(losses.distribution_focal_loss))(logits, jnp.array(1.25))
    np.testing.assert_allclose(gradient, np.zeros(4), atol=1e-6)
    assert float(losses.distribution_expectation(logits)) == pytest.approx(1.25, rel=1e-6)


def test_bad_distributions_are_named():
    with pytest.raises(ValueError, match=r"logits.shape=\(2, 1\): 1 value; allowed: at least 2"):
        losses.distribution_focal_loss(jnp.zeros((2, 1)), jnp.zeros(2))


@pytest.mark.slow
@pytest.mark.covers("LO-13")
def test_equal_boxes_cost_nothing_and_disjoint_ones_are_pulled_together():
    box, far = jnp.array([0.0, 0, 2, 2]), jnp.array([3.0, 0, 5, 2])
    for loss in (losses.iou_loss, *OVERLAP.values()):
        assert float(loss(box, box)) == pytest.approx(0, abs=1e-6)
    assert not jax.grad(losses.iou_loss)(box, far).any()
    for loss in OVERLAP.values():
        value, gradient = jax.value_and_grad(loss)(box, far)
        assert np.isfinite(gradient).all()
        assert float(gradient[2]) < 0  # the right side is pulled to the right
        assert float(loss(box - 0.1 * gradient, far)) < float(value)


@pytest.mark.weekly
@pytest.mark.covers("LO-13")
def test_empty_boxes_have_finite_losses_and_gradients():
    point, line, box = jnp.full(4, 3.0), jnp.array([1.0, 3, 4, 3]), jnp.array([0.0, 0, 2, 2])
    for loss in (losses.iou_loss, *OVERLAP.values()):
        for a in (point, line, box):
            for b in (point, line, box):
                value, gradients = jax.value_and_grad(loss, (0, 1))(a, b)
                assert np.isfinite(value)
                assert np.isfinite(gradients).all()


@pytest.mark.slow
def test_focal_loss_with_a_root_is_flat_where_it_is_sure():
    value, gradient = jax.value_and_grad(losses.sigmoid_focal_loss)(jnp.array([1e4]), jnp.ones(1), 0.25, 0.5)
    assert float(value) == 0
    assert not gradient.any()
