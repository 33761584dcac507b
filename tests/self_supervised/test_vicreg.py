"""VICReg: one update by hand, and each term alone."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.self_supervised import vicreg
from tests import siamese_toys as toys


def learner(norm=False, rate=toys.RATE):
    return vicreg.learner(
        **toys.settings(norm, rate), invariance_weight=2.0, variance_weight=3.0, covariance_weight=0.5
    )


@pytest.mark.covers("SS-31")
def test_one_update_by_hand():
    """Small weights, so that some deviations are below 1, where the hinge has a slope."""
    params = {name: 0.8 * value for name, value in toys.weights(1).items()}
    built = learner()
    state = toys.state_of(built, params=params)
    views = toys.views(state)
    deviations = np.stack([np.sqrt((v @ params["w"]).var(0, ddof=1)) for v in views])
    assert (deviations < 1).any()
    assert (deviations > 1).any()

    def terms(params):
        first, second = (v @ params["w"] for v in views)
        hinge = spread = 0
        for z in (first, second):
            hinge += np.maximum(0, 1 - np.sqrt(z.var(0, ddof=1) + 1e-4)).mean()
            covariance = np.cov(z, rowvar=False)
            spread += (np.square(covariance).sum() - np.square(np.diag(covariance)).sum()) / 3
        return {"invariance": np.square(first - second).mean(), "variance": hinge, "covariance": spread}

    def loss(params):
        return np.dot([2.0, 3.0, 0.5], [*terms(params).values()])

    toys.check_update(built, state, params, loss, still=("q",), **terms(params))


@pytest.mark.covers("SS-31")
def test_terms_by_hand():
    """+-1 in four images: Var = 4/3 by N - 1, above the hinge; the third number is constant: 1 - sqrt(1e-4) = .99.

    The first two are equal: Cov = 4/3 twice, c = 2 (16/9) / 3. The other view is moved by 1 in one of three numbers.
    """
    z = jnp.array([[1.0, 1, 5], [1, 1, 5], [-1, -1, 5], [-1, -1, 5], [np.nan, 0, 0]])
    mask = jnp.array([1, 1, 1, 1, 0])
    invariance, variance, covariance = vicreg.vicreg_terms(z, z.at[:, 0].add(1.0), mask)
    assert invariance == pytest.approx(1 / 3)
    assert variance == pytest.approx(2 * 0.99 / 3)
    assert covariance == pytest.approx(2 * 2 * (16 / 9) / 3)


@pytest.mark.weekly
@pytest.mark.covers("SS-31")
@pytest.mark.parametrize(("spmd", "norm"), [("jit", True), ("pmap", True)])
def test_eight_devices_equal_one(spmd, norm):
    toys.check_eight_devices(lambda norm: learner(norm, 0.01), spmd, norm)
