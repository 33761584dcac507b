"""What tests of methods with prototypes share: a toy encoder of crops, an update by hand, Sinkhorn in NumPy float64."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from dlcore.self_supervised.networks import unit
from tests import siamese_toys as toys

WEIGHTS = {"w": (2, 3), "prototypes": (4, 3)}


class Cosines(nn.Module):
    """Embeddings unit(h W), h the mean and the largest pixel of a crop of any shape, and their four cosines."""

    @nn.compact
    def __call__(self, x, train=False):
        h = jnp.stack([x.mean((1, 2, 3)), x.max((1, 2, 3))], -1)
        z = unit(h @ self.param("w", nn.initializers.normal(1.0), WEIGHTS["w"]))
        prototypes = self.param("prototypes", nn.initializers.normal(1.0), WEIGHTS["prototypes"])
        return {"features": h, "embeddings": z, "logits": z @ unit(prototypes).T}


def large(key, image):
    return 2 * image + 0.1


def small(key, image):
    return image[:1]


def weights(seed):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in WEIGHTS.items()}


def features(x):
    """h of crops [B, h, w, 1]."""
    x = np.asarray(x, np.float64).reshape(len(x), -1)
    return np.stack([x.mean(1), x.max(1)], -1)


def embeddings(params, x):
    return toys.unit_rows(features(x) @ params["w"])


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def sinkhorn(scores, temperature, iterations):
    """Divide the columns and the rows of e^(scores / temperature) by their sums, in turns."""
    q = np.exp(np.asarray(scores, np.float64) / temperature)
    for _ in range(iterations):
        q = q / q.sum(0, keepdims=True)
        q = q / q.sum(1, keepdims=True)
    return q


def check_descent(after, params, loss, rates):
    """The new weights are params - rate x slope of the loss, the rate by the weight's name."""
    for name, slope in toys.slopes(loss, params).items():
        assert np.abs(slope).max() > 1e-3
        np.testing.assert_allclose(after.params[name], params[name] - rates[name] * slope, atol=2e-5)
