"""What each loss says of two images of one class and of a third of another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import metric_learning as study


def test_each_objective_by_hand():
    """Vectors at 0 and 90 degrees, of class 0, and at -30, of class 1: squared distances 2, 2 - sqrt(3) and 3."""
    z, labels = jnp.array([[3.0, 0], [0, 2], [np.sqrt(3), -1]]), jnp.array([0, 0, 1])

    @jax.jit
    def losses(z):
        return {name: loss(z, None, labels) for name, loss in study.OBJECTIVES.items() if "triplets" not in name}

    near = 2 - np.sqrt(3)
    own = [np.exp(3) / (np.exp(3) + 1), 1 / (1 + np.exp(2)), np.exp(-1) / (np.exp(-1) + np.exp(np.sqrt(3)))]
    want = {
        "softmax": -np.log(own).mean(),
        "contrastive": (2 + (1 - np.sqrt(near)) ** 2) / 3,
        "cosine": (1 + np.cos(np.pi / 6)) / 3,
        "hinge": (2 + 1 - near) / 3,
    }
    assert jax.device_get(losses(z)) == pytest.approx(want, rel=1e-4)


def test_triplets_of_each_kind_by_hand():
    """Of class 0 at 0 and 90 degrees, and class 1 near 0: the first's triplet is hard, the second's semi-hard.

    Squared distances 2, 2 - 2 sqrt(1 - c^2) and 2 + 2 c of c = 0.05, margin 0.2.
    """
    z, labels = jnp.array([[3.0, 0], [0, 2], [np.sqrt(1 - 0.05**2), -0.05]]), jnp.array([0, 0, 1])
    got = {name: float(loss(z, None, labels)) for name, loss in study.OBJECTIVES.items() if "triplets" in name}
    hard, semi_hard = 2 * np.sqrt(1 - 0.05**2) + 0.2, 0.1
    want = {"all triplets": (hard + semi_hard) / 2, "semi-hard triplets": semi_hard, "hard triplets": hard}
    assert got == pytest.approx(want, rel=1e-4)


def test_pairs_of_a_batch_are_counted_once():
    loss = study.over_pairs(lambda a, b, same: jnp.where(same, 10.0, 1.0))
    assert float(loss(jnp.eye(3), None, jnp.array([0, 0, 1]))) == pytest.approx((10 + 1 + 1) / 3)
