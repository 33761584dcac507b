"""BYOL: one update by hand, the target's average, the schedule of the momentum, and rates out of range."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.optim.ema import cosine_momentum
from dlcore.self_supervised import byol
from dlcore.self_supervised.siamese import SiameseNet
from tests import siamese_toys as toys


def learner(norm=False, momentum=lambda step: 0.3 * step, rate=toys.RATE):
    return byol.learner(**toys.settings(norm, rate), momentum=momentum)


@pytest.mark.covers("SS-28")
def test_one_update_by_hand():
    """Step 3 has m = 0.9. Both networks differ, so that a gradient through the target would show."""
    params, target = toys.weights(1), toys.weights(2)
    built = learner()
    state = toys.state_of(built, params=params, target_params=target)
    views = toys.views(state)
    targets = [toys.unit_rows(v @ target["w"]) for v in views]

    def loss(params):
        predictions = [toys.unit_rows(v @ params["w"] @ params["q"]) for v in views]
        squared = [np.square(p - t).sum(-1) for p, t in zip(predictions, targets[::-1], strict=True)]
        return sum(squared).mean()  # |p - t|^2 = 2 - 2 cos of unit vectors

    after = toys.check_update(built, state, params, loss)
    for name, value in after.params.items():
        np.testing.assert_allclose(after.target_params[name], 0.9 * target[name] + 0.1 * value, atol=1e-6)


def test_losses_by_hand():
    # The same direction, a right angle and the opposite: 0, 2 and 4, whatever the lengths.
    losses = byol.byol_losses(jnp.array([[2.0, 0], [0, 3], [-1, 0]]), jnp.tile(jnp.array([5.0, 0]), (3, 1)))
    np.testing.assert_allclose(losses, [0, 2, 4], atol=1e-6)


@pytest.mark.covers("SS-28")
def test_the_momentum_rises_to_one_by_half_a_cosine():
    schedule = cosine_momentum(0.99, 100)
    # 1 - 0.01 (1 + cos(pi t)) / 2 at t = 0, 1/2, 1 and beyond.
    np.testing.assert_allclose([schedule(step) for step in (0, 50, 100, 150)], [0.99, 0.995, 1, 1], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("SS-28")
def test_a_target_of_momentum_one_stands_still():
    built = learner(momentum=lambda step: 1.0)
    state = toys.state_of(built, params=toys.weights(1), target_params=toys.weights(2))
    after, _ = jax.jit(built.update)(state, toys.ROWS)
    chex.assert_trees_all_equal(after.target_params, state.target_params)


def test_momentum_out_of_range():
    built = learner(momentum=lambda step: 1.5)
    with pytest.raises(ValueError, match=r"momentum=1\.5: out of range; allowed: 0 to 1"):
        jax.eval_shape(built.update, toys.state_of(built), toys.ROWS)


@pytest.mark.slow
def test_without_a_predictor_the_predictions_are_the_projections():
    class Backbone(nn.Module):
        num_classes: int = 0

        @nn.compact
        def __call__(self, x, train=False):
            return x.mean((1, 2))

    x = jax.random.normal(jax.random.key(0), (4, 2, 2, 3))
    shapes = {}
    for width in (0, 6):
        net = SiameseNet(
            Backbone(), proj_dim=5, hidden_features=7, layers=3, norm_output=True, predictor_features=width
        )
        out, variables = jax.jit(net.init_with_output)(jax.random.key(1), x)
        shapes[width] = set(variables["params"])
        assert np.allclose(out["predictions"], out["projections"]) == (width == 0)
        chex.assert_shape([out["predictions"], out["embeddings"]], (4, 5))
        # Two hidden layers with a norm each, and a norm at the end without parameters.
        assert set(variables["params"]["projection"]) == {"layer0", "norm0", "layer1", "norm1", "output"}
        assert "output_norm" in variables["batch_stats"]["projection"]
    assert shapes == {0: {"projection"}, 6: {"projection", "predictor"}}


@pytest.mark.weekly
@pytest.mark.covers("SS-28")
@pytest.mark.parametrize(("spmd", "norm"), [("jit", True), ("pmap", True)])
def test_eight_devices_equal_one(spmd, norm):
    toys.check_eight_devices(lambda norm: learner(norm, lambda step: 0.9), spmd, norm)


def test_the_loss_of_almost_equal_directions():
    """(1, 0) and (1, d) are atan d apart, and 2 - 2 cos is about its square."""
    losses = byol.byol_losses(jnp.array([[1.0, 0], [3, 0]]), jnp.array([[1, 1e-4], [1, 1e-3]]))
    np.testing.assert_allclose(losses, np.square(np.arctan([1e-4, 1e-3])), rtol=1e-3)
