"""DINOv2's objective: KoLeo by hand, an update by hand, and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.self_supervised import dinov2_objective
from tests import prototype_toys, siamese_toys
from tests.prototype_toys import log_softmax, sinkhorn, token_features, token_logits
from tests.siamese_toys import RATE, ROWS, unit_rows


def learner(rate=RATE, **kwargs):
    settings = {"augment": prototype_toys.large, "teacher_momentum": lambda step: 0.9, "mask_ratio": 0.5, **kwargs}
    return dinov2_objective.learner(
        model=prototype_toys.Tokens(),
        optimizer=optax.sgd(rate),
        augment_local=prototype_toys.small,
        local_crops=1,
        student_temperature=0.4,
        teacher_temperature=lambda step: 0.5,
        **settings,
    )


def koleo(features):
    """-log of each feature's distance to its nearest neighbor, in float64."""
    x = unit_rows(features)
    distances = np.linalg.norm(x[:, None] - x, axis=-1) + 9 * np.eye(len(x))
    return -np.log(distances.min(1))


@pytest.mark.covers("SS-35")
def test_koleo_by_hand():
    """Directions of 0, 90 and 210 degrees: the nearest are 90, 90 and 120 degrees away; padding is no neighbor."""
    features = np.array([[2.0, 0], [0, 0.5], [-(3**0.5), -1], [1, 0]], np.float32)
    losses_of = jax.jit(dinov2_objective.koleo_losses)
    # A chord of 90 degrees is sqrt(2), one of 120 degrees sqrt(3).
    expected = [-np.log(2) / 2, -np.log(2) / 2, -np.log(3) / 2, 0]
    np.testing.assert_allclose(losses_of(features, np.array([1, 1, 1, 0])), expected, atol=1e-6)
    np.testing.assert_array_equal(losses_of(features, np.array([0, 1, 0, 0])), np.zeros(4))


@pytest.mark.covers("SS-35")
def test_equal_features_have_a_finite_koleo_and_gradient():
    loss = jax.value_and_grad(lambda x: dinov2_objective.koleo_losses(x, np.ones(2)).sum())
    value, gradient = jax.jit(loss)(np.ones((2, 3), np.float32))
    assert np.isfinite(value)
    assert value > 20
    np.testing.assert_array_equal(gradient, np.zeros((2, 3)))


@pytest.mark.covers("SS-35")
def test_one_update_by_hand():
    """Four images: eight class tokens share one assignment, their sixteen hidden patches another; all terms count."""
    built = learner(patch_weight=0.5, koleo_weight=0.2, last_layer=lambda step: step / 12)
    params, teacher = prototype_toys.token_weights(1), prototype_toys.token_weights(2)
    state = siamese_toys.state_of(built, params=params, teacher_params=teacher)
    crops, masked = prototype_toys.token_crops(state)
    masked = masked[:, :4]
    after, metrics = jax.jit(built.update)(state, ROWS)
    taught = [token_logits(teacher, crops[t][:4]) for t in range(2)]
    tokens = sinkhorn(np.concatenate([taught[0][0], taught[1][0]]), 0.5, 3).reshape(2, 4, 4)
    patches = np.zeros((2, 4, 4, 4))
    patches[masked] = sinkhorn(np.stack([taught[0][1], taught[1][1]])[masked], 0.5, 3)

    def terms(params):
        student = [token_logits(params, crops[v][:4], masked[v] if v < 2 else None) for v in range(3)]
        pairs = [(t, v) for t in range(2) for v in range(3) if t != v]
        class_loss = np.mean([-(tokens[t] * log_softmax(student[v][0] / 0.4)).sum(-1).mean() for t, v in pairs])
        losses = [-(patches[t] * log_softmax(student[t][1] / 0.4)).sum(-1) for t in range(2)]  # [4, 4] each
        patch_loss = np.mean([losses[t][masked[t]].mean() for t in range(2)])
        spread = sum(koleo(token_features(params, crops[t][:4], masked[t])[0]).mean() for t in range(2))
        return {"class_loss": class_loss, "patch_loss": 0.5 * patch_loss, "koleo": 0.2 * spread}

    for name, value in terms(params).items():
        assert metrics[name].compute() == pytest.approx(value, rel=1e-4)
    rates = {"w": RATE, "mask_token": RATE, "prototypes": RATE / 4}
    prototype_toys.check_descent(after, params, lambda params: sum(terms(params).values()), rates)
    for name, value in after.params.items():
        np.testing.assert_allclose(after.teacher_params[name], 0.9 * teacher[name] + 0.1 * value, atol=1e-5)


def test_more_prototypes_than_examples():
    """One image has two class tokens, fewer than the four prototypes."""
    built, rows = learner(koleo_weight=0.0), {name: value[:1] for name, value in ROWS.items()}
    with pytest.raises(ValueError, match="prototypes=4: more than the 2 examples to share them; allowed: at most 2"):
        jax.eval_shape(built.update, siamese_toys.state_of(built), rows)


@pytest.mark.weekly
@pytest.mark.covers("SS-35")
@pytest.mark.parametrize("spmd", ["jit", "pmap"])
def test_eight_devices_equal_one(spmd):
    """At a small rate, since KoLeo's slope is the inverse of a distance, which enlarges rounding."""

    def noisy(key, x):
        return x + 0.3 * jax.random.normal(key, jnp.shape(x))

    siamese_toys.check_eight_devices(lambda norm: learner(rate=0.01, augment=noisy), spmd, False)


def test_koleo_of_features_around_one_direction():
    """Directions that differ by 1e-4 have the same cosine in float32, and other distances."""
    features = 1e4 + np.random.default_rng(0).integers(0, 8, (6, 4)).astype(np.float32)
    losses = jax.jit(dinov2_objective.koleo_losses)(features, np.ones(6))
    np.testing.assert_allclose(losses, koleo(features.astype(np.float64)), rtol=1e-3)
