"""Attacks on a linear classifier, whose best change is known, and what holds of every attack."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.adversarial.gradient import (
    _point_of_unit_ball,
    attack_loss,
    check_attack,
    fgsm,
    fool_from_noise,
    pgd,
    project,
    projected_ascent,
)

WEIGHTS = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
IMAGE = np.random.default_rng(1).uniform(0.4, 0.6, (2, 3, 2)).astype(np.float32)
KEY = jax.random.key(0)


def scores(x):
    return x.reshape(-1) @ WEIGHTS


LABEL = int(np.argmax(IMAGE.reshape(-1) @ WEIGHTS))
OTHER = (LABEL + 1) % 3


def test_losses_by_hand():
    cases = (0,), (0, "margin"), (0, "dlr"), (1, "margin")
    found = jax.jit(lambda z: [attack_loss(z, *case) for case in cases])(np.float32([2, 1, -1, 0]))
    # log(e^2 + e + e^-1 + 1) - 2 = 0.4402; margin 1 - 2; DLR -1 / (2 - 0), of the third largest score 0.
    assert [float(loss) for loss in found] == pytest.approx([0.4402, -1, -0.5, 1], abs=1e-4)


def test_targeted_losses_by_hand():
    z = np.float32([4, 1, -1, 0.5, 3])

    @jax.jit
    def run(z):
        slope = jax.grad(lambda z: attack_loss(z, 0, "dlr", 4))(z)
        cases = (0, "dlr", 4), (4, "dlr", 0), (0, "margin", 4), (0, "cross_entropy", 4)
        return slope, [attack_loss(z, *case) for case in cases]

    slope, found = run(z)
    # Largest 4, third 1, fourth 0.5. DLR of target 4 for label 0: (3 - 4) / (4 - (1 + 0.5) / 2) = -1 / 3.25; of target
    # 0 for label 4 it is 1 / 3.25. Margin of target 4: 3 - 4. Cross-entropy: log softmax_4 = 3 - log(sum e^z) =
    # -1.3637.
    expected = [-1 / 3.25, 1 / 3.25, -1, 3 - np.log(np.exp(z).sum())]
    assert [float(loss) for loss in found] == pytest.approx(expected, abs=1e-5)
    # d/dz_0 of (z_4 - z_0) / D is -1/D + 1/D^2 as z_0 is the largest; z_1 and z_3 have -1 (-1/2) (-1)/D^2 each.
    np.testing.assert_allclose(slope, [-1 / 3.25 + 1 / 3.25**2, -0.5 / 3.25**2, 0, -0.5 / 3.25**2, 1 / 3.25], rtol=1e-5)


def test_projections_by_hand():
    np.testing.assert_allclose(project(jnp.array([3.0, -4.0]), 2.5, "l2"), [1.5, -2.0], rtol=1e-6)
    np.testing.assert_allclose(project(jnp.array([0.3, -0.4]), 2.5, "l2"), [0.3, -0.4], rtol=1e-6)
    np.testing.assert_allclose(project(jnp.array([3.0, -0.4]), 1.0), [1.0, -0.4])


@pytest.mark.covers("AD-01", "AD-05")
def test_fgsm_of_the_margin_of_two_classes_is_the_sign_of_their_difference():
    others = [k for k in range(3) if k != LABEL]
    runner = max(others, key=lambda k: IMAGE.reshape(-1) @ WEIGHTS[:, k])
    found = jax.jit(lambda x: fgsm(scores, KEY, x, LABEL, 0.1, loss="margin"))(IMAGE)
    want = IMAGE + 0.1 * np.sign(WEIGHTS[:, runner] - WEIGHTS[:, LABEL]).reshape(IMAGE.shape)
    np.testing.assert_allclose(found, want, atol=1e-6)


@pytest.mark.covers("AD-02")
def test_a_targeted_step_raises_the_target_s_margin_as_much_as_the_ball_allows():
    """Margins are piecewise linear: away from a change of the runner-up PGD ends at the corner of the ball."""
    found = jax.jit(lambda x: pgd(scores, KEY, x, LABEL, 0.3, 0.05, 20, target=OTHER))(IMAGE)
    assert int(np.argmax(scores(np.asarray(found)))) == OTHER
    before, after = (float(-attack_loss(scores(x), OTHER, "margin")) for x in (jnp.asarray(IMAGE), found))
    assert after > before


@pytest.mark.slow(only=["cross_entropy-l2", "dlr-linf", "margin-l2"])
@pytest.mark.covers("AD-01", "AD-05")
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["cross_entropy", "margin", "dlr"])
def test_pgd_errs_within_the_ball_and_the_range(norm, loss):
    epsilon = 0.5 if norm == "linf" else 0.9
    attack = jax.jit(lambda key, x: pgd(scores, key, x, LABEL, epsilon, 0.1, 20, norm, loss=loss, restarts=2))
    found = np.asarray(attack(KEY, IMAGE))
    assert np.argmax(scores(found)) != LABEL
    assert found.min() >= 0
    assert found.max() <= 1
    delta = found - IMAGE
    size = np.abs(delta).max() if norm == "linf" else np.sqrt(np.square(delta).sum())
    assert 0.05 < size <= epsilon + 1e-6


def test_steps_of_a_constant_slope_add_up_until_the_edge_of_the_ball():
    """From 0.5 two steps of 0.01 lead to 0.52 and 40 to 0.8, 0.3 away; without a step the start is moved there."""
    image = jnp.full((1, 1, 1), 0.5)
    run = jax.jit(lambda start, steps: projected_ascent(jnp.sum, image, start, 0.3, 0.01, steps))
    ends = [float(run(start, steps)[0, 0, 0]) for start, steps in ((image, 2), (image, 40), (0 * image, 0))]
    assert ends == pytest.approx([0.52, 0.8, 0.2])


@pytest.mark.covers("AD-05")
def test_l2_steps_of_a_linear_function_follow_its_gradient():
    """Two classes, no random start, far from the borders: the end is epsilon along the difference of the weights."""
    weights = WEIGHTS[:, :2]
    label = int(np.argmax(IMAGE.reshape(-1) @ weights))
    found = jax.jit(
        lambda x: pgd(
            lambda v: v.reshape(-1) @ weights, KEY, x, label, 0.2, 0.05, 10, "l2", loss="margin", random_start=False
        )
    )(IMAGE)
    direction = (weights[:, 1 - label] - weights[:, label]).reshape(IMAGE.shape)
    np.testing.assert_allclose(found, IMAGE + 0.2 * direction / np.linalg.norm(direction), atol=1e-5)


@pytest.mark.parametrize(("loss", "scale"), [("cross_entropy", 1e4), ("cross_entropy", 0.1), ("margin", 1e-25)])
def test_steps_do_not_depend_on_the_scale_of_the_scores(loss, scale):
    """Two classes: the end is epsilon along the difference of the weights in L2, its sign in Linf, however sure the
    network is (a scale of 1e4 is a margin in the thousands)."""
    weights = WEIGHTS[:, :2]
    label = int(np.argmax(IMAGE.reshape(-1) @ weights))
    direction = (weights[:, 1 - label] - weights[:, label]).reshape(IMAGE.shape)

    @jax.jit
    def run(x, scale):
        score_fn = lambda v: scale * (v.reshape(-1) @ weights)  # noqa: E731
        l2 = pgd(score_fn, KEY, x, label, 0.2, 0.05, 10, "l2", loss=loss, random_start=False)
        return l2, fgsm(score_fn, KEY, x, label, 0.1, loss=loss), fgsm(score_fn, KEY, x, label, 0.1, 1 - label, loss)

    l2, sign, targeted = run(IMAGE, scale)
    np.testing.assert_allclose(l2, IMAGE + 0.2 * direction / np.linalg.norm(direction), atol=1e-5)
    np.testing.assert_allclose(sign, IMAGE + 0.1 * np.sign(direction), atol=1e-6)
    np.testing.assert_allclose(targeted, sign, atol=1e-6)


@pytest.mark.slow(only=["float16"])
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_attacks_in_half_precision(dtype):
    """The image comes back in its type, as far as in float32; where there is no slope it stays as it is."""
    image = jnp.asarray(IMAGE, dtype)

    @jax.jit
    def run(x):
        steps = {"epsilon": 0.2, "step_size": 0.001, "steps": 300, "norm": "l2", "random_start": False}
        return pgd(scores, KEY, x, LABEL, loss="margin", **steps), pgd(lambda v: jnp.zeros(3), KEY, x, 0, **steps)

    moved, still = run(image)
    exact, _ = run(image.astype(jnp.float32))
    assert moved.dtype == dtype
    np.testing.assert_allclose(moved.astype(jnp.float32), exact, atol=float(jnp.finfo(dtype).eps))
    change = np.asarray(moved, np.float64) - np.asarray(image, np.float64)
    assert 0.19 < np.linalg.norm(change) <= 0.2 + 1e-6
    change = jnp.abs(fgsm(scores, KEY, image, LABEL, 0.1).astype(jnp.float32) - image.astype(jnp.float32))
    assert 0.09 < float(change.min()) <= float(change.max()) <= 0.1 + 1e-6
    np.testing.assert_array_equal(still, image)
    # Three equal scores: there is no third to divide by, and the margin of a wrong class is 1.
    value, slope = jax.value_and_grad(attack_loss)(jnp.array([1, 1, 1, 0], dtype), 0, "dlr")
    assert (float(value), float(attack_loss(jnp.array([1, 1, 1, 0], dtype), 3, "dlr"))) == (0, 1)
    assert np.isfinite(np.asarray(slope, np.float32)).all()
    assert float(attack_loss(jnp.array([2, 1, -1, 0], dtype) * dtype(1e-6), 0, "dlr")) == pytest.approx(-0.5, abs=0.1)


def test_restarts_keep_the_greatest_margin():
    found = [jax.jit(lambda x, n=n: pgd(scores, KEY, x, LABEL, 0.05, 0.001, 1, restarts=n))(IMAGE) for n in (1, 8)]

    def margin(x):
        z = np.asarray(x).reshape(-1) @ WEIGHTS
        return np.delete(z, LABEL).max() - z[LABEL]

    margins = [margin(x) for x in found]
    keys = jax.random.split(KEY, 8)
    starts = jax.vmap(lambda k: IMAGE + 0.05 * jax.random.uniform(k, IMAGE.shape, minval=-1, maxval=1))(keys)
    assert margins[1] >= max(margin(x) for x in np.asarray(starts)) - 1e-3
    assert margins[1] >= margins[0] - 1e-6


def test_l2_starts_fill_the_ball():
    """The radius of a point drawn evenly from 12 dimensions is u^(1/12): its median is 2^(-1/12) = 0.944, its mean
    12/13 = 0.923."""
    starts = jax.vmap(lambda k: _point_of_unit_ball(k, jnp.zeros((2, 3, 2)), "l2"))(jax.random.split(KEY, 2000))
    radius = np.sqrt(np.square(starts).sum((1, 2, 3)))
    assert radius.max() <= 1 + 1e-6
    assert radius.mean() == pytest.approx(12 / 13, abs=0.01)
    np.testing.assert_allclose(starts.mean(0), 0, atol=0.03)


def test_only_the_image_is_differentiated():
    """A dense layer has three products in a training step, two here: scores, and the gradient by the image."""
    text = str(jax.make_jaxpr(lambda w, x: fgsm(lambda v: v.reshape(-1) @ w, KEY, x, LABEL, 0.1))(WEIGHTS, IMAGE))
    assert text.count("dot_general") == 2


@pytest.mark.covers("AD-07")
def test_noise_is_taken_for_any_class():
    attack = jax.jit(lambda key, target: fool_from_noise(lambda x: 5 * scores(x), key, IMAGE.shape, target, 0.05, 60))
    for target in range(3):
        found = attack(jax.random.key(target), target)
        assert jax.nn.softmax(5 * scores(found))[target] > 0.99
        assert 0 <= found.min() <= found.max() <= 1


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"epsilon=-0.1: out of range; allowed: \[0, 1\]"):
        check_attack(-0.1)
