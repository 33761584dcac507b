"""What a step learns from and what it may not see, and a short run in which the domains become alike."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.factor_shapes import factor_shapes, simulate_camera
from dlcore.learner import State
from dlcore.self_supervised import synthetic_properties
from dlcore.self_supervised.renderings import pairs
from dlcore.self_supervised.synthetic_properties import PropertyNet
from dlcore.transfer.gradient_reversal import reverse_gradient
from tests.told_sgd import told_sgd
from tests.wiring import assert_wiring

NET = synthetic_properties.PropertyNet(2, 4, (8, 8), 16)


def toy(adversary=1.0):
    return synthetic_properties.learner(
        model=NET,
        optimizer=optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.02, momentum=0.9)),
        strength=lambda step: 1.0,
        factor_scale=jnp.ones(4),
        adversary=adversary,
    )


@pytest.fixture(scope="module")
def rows():
    return pairs(64, 0, 8)[np.arange(64)]


@pytest.mark.weekly
@pytest.mark.covers("SS-22")
def test_the_labels_of_photographs_reach_no_update_but_the_measure(rows):
    learner = toy()
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    update, evaluate = jax.jit(learner.update), jax.jit(learner.evaluate)
    other = rows | {"photo_label": 1 - rows["photo_label"], "photo_factors": rows["photo_factors"] + 1}
    (one, _), (two, _) = update(state, rows), update(state, other)
    jax.tree.map(np.testing.assert_array_equal, one.params, two.params)
    first, second = evaluate(state, rows), evaluate(state, other)
    assert first["photo_accuracy"].compute() == pytest.approx(1 - second["photo_accuracy"].compute())
    assert first["accuracy"].compute() == second["accuracy"].compute()
    renamed, _ = update(state, rows | {"label": 1 - rows["label"]})
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), renamed.params["shape"], one.params["shape"])
    assert max(jax.tree.leaves(moved)) > 1e-4, "the renderer's labels are learnt from"


class Scalars(nn.Module):
    """One feature h = w x; the logits (0, a h), the factor c h, and the domain d h behind a reversal."""

    @nn.compact
    def __call__(self, x, strength=1.0):
        w, a, c, d = (self.param(name, nn.initializers.ones, ()) for name in "wacd")
        h = w * x.reshape(len(x))
        shape = jnp.stack([jnp.zeros_like(h), a * h], -1)
        return {
            "features": 2 * h[:, None],
            "shape": shape,
            "factors": c * h[:, None],
            "domain": d * reverse_gradient(h, strength),
        }


@pytest.mark.covers("SS-22")
def test_one_update_by_hand():
    """CE of the shape, |c h - f|^2 / s^2 of renderings, and half of each domain's CE, whose slope by h is reversed.

    The fourth row is padding.
    """
    learner = synthetic_properties.learner(
        model=Scalars(),
        optimizer=told_sgd(0.1),
        strength=lambda step: step / 4,
        factor_scale=jnp.array([0.5]),
        adversary=0.8,
    )
    rng, y = np.random.default_rng(0), np.array([0, 1, 1], np.int32)
    x, photo, f = rng.random((3, 3), np.float32)
    padded = lambda values: np.append(values, values.dtype.type(9))  # noqa: E731
    shown = {"image": padded(x).reshape(4, 1, 1, 1), "photo": -padded(photo).reshape(4, 1, 1, 1)}
    shown["photo"][:3] *= -1
    rows = {**shown, "label": padded(y) % 2, "factors": padded(f)[:, None], "index": np.arange(4, dtype=np.int32)}
    rows["mask"] = np.float32([1, 1, 1, 0])
    params = {"w": np.float32(1.1), "a": np.float32(0.7), "c": np.float32(-0.4), "d": np.float32(0.9)}
    state = State(np.int32(2), jax.random.key(0), params, optax.sgd(0.1).init(params))
    state, metrics = jax.device_get(jax.jit(learner.update)(state, rows))
    after = state.params

    def sigmoid(s):
        return 1 / (1 + np.exp(-s))

    h, other = 1.1 * x, 1.1 * photo
    told, wrong = sigmoid(0.7 * h) - y, 2 * (-0.4 * h - f) / 0.25
    first, second = sigmoid(0.9 * h) / 2, (sigmoid(0.9 * other) - 1) / 2  # renderings are domain 0, photographs 1
    reversed_slope = -0.8 * 2 / 4 * 0.9 * (first * x + second * photo)
    slopes = {
        "w": (0.7 * told - 0.4 * wrong) * x + reversed_slope,
        "a": told * h,
        "c": wrong * h,
        "d": first * h + second * other,
    }
    want = {name: params[name] - 0.1 * slope.mean() for name, slope in slopes.items()}
    assert after == pytest.approx(want, rel=1e-5)
    # Logits of the shape are (0, a h), of the domain (0, d h).
    shape = np.logaddexp(0, np.where(y == 1, -0.7 * h, 0.7 * h))
    domain = (np.logaddexp(0, 0.9 * h) + np.logaddexp(0, -0.9 * other)) / 2
    errors = (-0.4 * h - f) ** 2 / 0.25
    assert metrics["loss"].compute() == pytest.approx((shape + errors + domain).mean(), rel=1e-5)
    assert metrics["factor_error"].compute() == pytest.approx(errors.mean(), rel=1e-5)
    # The shape of every photograph is predicted as class 1, since its logit a h is positive.
    labeled = rows | {"photo_label": padded(y) % 2, "photo_factors": padded(f)[:, None]}
    photo_metrics, plain, predicted, first = jax.jit(
        lambda s: (
            learner.evaluate(s, labeled),
            learner.evaluate(s, rows),
            learner.predict(s, rows),
            learner.init(s.rng, rows),
        )
    )(state.replace(params=params))
    assert first.params == dict.fromkeys("wacd", 1)
    assert first.step == 0
    assert photo_metrics.keys() - plain.keys() == {"photo_accuracy", "photo_factor_error"}
    assert plain["factor_error"].compute() == pytest.approx(((-0.4 * 1.1 * x - f) ** 2 / 0.25).mean(), rel=1e-5)
    assert photo_metrics["photo_accuracy"].compute() == pytest.approx(2 / 3)
    assert photo_metrics["photo_factor_error"].compute() == pytest.approx(
        ((-0.4 * other - f) ** 2 / 0.25).mean(), rel=1e-5
    )
    assert photo_metrics["accuracy"].compute() == pytest.approx(2 / 3)
    # d h is positive: all are taken for photographs.
    assert photo_metrics["domain_accuracy"].compute() == pytest.approx(0.5)
    expected = {"features": 2 * other, "factors": -0.4 * other, "rendered": 2 * h}
    for name, values in expected.items():
        np.testing.assert_allclose(predicted[name][:3], values[:, None], rtol=1e-5)
    np.testing.assert_allclose(predicted["shape"][:3], np.stack([0 * h, 0.7 * other], 1), rtol=1e-5)


@pytest.mark.weekly
@pytest.mark.covers("SS-22")
def test_domains_become_alike_with_the_adversary_alone(rows):
    """The classifier of domains knows little with it, over the last 300 of 500 steps; without it nearly everything."""
    told = {}
    for adversary in (0.0, 1.0):
        learner = toy(adversary)
        state = jax.jit(learner.init)(jax.random.key(1), rows)

        def step(state, _, learner=learner):
            state, metrics = learner.update(state, rows)
            return state, metrics["domain_accuracy"].total / metrics["domain_accuracy"].count

        told[adversary] = float(jax.jit(lambda s, step=step: jax.lax.scan(step, s, length=500)[1][200:].mean())(state))
    assert told[0.0] > max(0.95, told[1.0] + 0.15), told
    assert told[1.0] < 0.65, told


def test_a_camera_makes_other_pixels_of_the_same_shape():
    images = factor_shapes(3, 0, 16).arrays["image"]
    shots = simulate_camera(images, 1)
    chex.assert_equal_shape([shots, images])
    assert shots.dtype == np.float32
    np.testing.assert_array_equal(simulate_camera(images[:2], 1), shots[:2])
    assert np.abs(shots - images).mean() > 0.1
    inside = images > 0.25
    assert all(a[b].mean() > a[~b].mean() + 0.1 for a, b in zip(shots, inside, strict=True))


def test_the_wiring_of_property_net_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(PropertyNet(2, 4, (4, 4), 6), (1, 8, 8, 3), [20.8649, -6.52376])
