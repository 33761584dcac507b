"""SimSiam: one update by hand, with the stop-gradient and without it, and the loss by its angles."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.self_supervised import simsiam
from tests import siamese_toys as toys


def learner(norm=False, **arguments):
    return simsiam.learner(**toys.settings(norm), **arguments)


@pytest.mark.covers("SS-29")
@pytest.mark.parametrize("stop_gradient", [True, False])
def test_one_update_by_hand(stop_gradient):
    """With the stop-gradient, projections on the target's side are those of the weights before the step."""
    params = toys.weights(1)
    built = learner(stop_gradient=stop_gradient)
    state = toys.state_of(built, params=params)
    views = toys.views(state)

    def loss(moved):
        predictions = [toys.unit_rows(v @ moved["w"] @ moved["q"]) for v in views]
        constant = params if stop_gradient else moved
        projections = [toys.unit_rows(v @ constant["w"]) for v in views]
        return -sum((p * z).sum(-1) / 2 for p, z in zip(predictions, projections[::-1], strict=True)).mean()

    toys.check_update(built, state, params, loss)


@pytest.mark.covers("SS-29")
def test_losses_by_hand():
    losses = simsiam.simsiam_losses(jnp.array([[2.0, 0], [0, 3], [-1, 0]]), jnp.tile(jnp.array([5.0, 0]), (3, 1)))
    np.testing.assert_allclose(losses, [-1, 0, 1], atol=1e-6)


@pytest.mark.weekly
@pytest.mark.covers("SS-29")
@pytest.mark.parametrize(("spmd", "norm"), [("jit", True), ("pmap", True)])
def test_eight_devices_equal_one(spmd, norm):
    toys.check_eight_devices(learner, spmd, norm)
