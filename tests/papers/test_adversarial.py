"""FGSM on a linear classifier: the error is where arithmetic says."""

import jax.numpy as jnp
import numpy as np

from dlcore.adversarial.gradient import fgsm
from dlcore.data.source import Source
from dlcore.models.mlp import MLP
from experiments.papers.adversarial import attacked


def test_a_step_of_epsilon_moves_the_margin_by_epsilon_times_the_weights():
    images = np.full((1, 1, 2, 1), 0.5, np.float32)
    params = {"head": {"kernel": jnp.array([[2.0, 0.0], [0.0, 1.0]]), "bias": jnp.zeros(2)}}
    source = Source({"image": images, "label": np.zeros(1, np.int32)})
    # z = (1, 0.5); the step adds epsilon (-2, +1): the margin 0.5 falls by 3 epsilon.
    for epsilon, margin in ((0.0, 0.5), (0.1, 0.2), (0.25, -0.25)):
        expected = 1 / (1 + np.exp(-margin))
        np.testing.assert_allclose(
            attacked(MLP(hidden=(), num_classes=2), params, source, fgsm, epsilon=epsilon)[0, 0], expected, 1e-5
        )
