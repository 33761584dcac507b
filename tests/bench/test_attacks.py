"""The peers of the bench attack as ours does: the same images."""

import jax
import numpy as np
import pytest

from experiments.bench.attacks import EPSILON, eager_calls, network, our_call, torch_calls, torch_network

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.uniform(size=(2, 28, 28, 1)).astype(np.float32), np.array([3, 7])


@pytest.mark.weekly
def test_the_peers_find_the_same_images():
    model, variables = network()
    found = np.asarray(our_call(model, variables, IMAGES, LABELS, 3)())
    assert 0.029 < np.abs(found - IMAGES).max() <= min(EPSILON, 0.03) + 1e-6
    peers = eager_calls(model, variables, IMAGES, LABELS, 3) | torch_calls(variables, IMAGES, LABELS, 3)
    for name, call in peers.items():
        assert (np.abs(np.asarray(call()) - found) > 1e-4).mean() < 0.01, name


def test_the_network_in_torch_is_ours():
    torch = pytest.importorskip("torch")
    model, variables = network()
    theirs = torch_network(variables)(torch.from_numpy(np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2))))
    np.testing.assert_allclose(theirs.numpy(), jax.jit(model.apply)(variables, IMAGES), atol=1e-4)
