"""What tests of methods with prototypes share: a toy encoder of crops, an update by hand, Sinkhorn in NumPy float64."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dlcore.learner import example_keys
from dlcore.ops import patch_grid
from dlcore.self_supervised.networks import unit
from dlcore.self_supervised.patch_masks import random_mask
from tests import siamese_toys as toys
from tests.passes import count_pass

WEIGHTS = {"w": (2, 3), "prototypes": (4, 3)}


class Cosines(nn.Module):
    """Embeddings unit(h W), h the mean and the largest pixel of a crop of any shape, and their four cosines."""

    @nn.compact
    def __call__(self, x, train=False):
        count_pass(self, train, draws=True)
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


TOKEN_WEIGHTS = {"w": (2, 3), "mask_token": (2,), "prototypes": (4, 3)}


class Tokens(nn.Module):
    """Patches of one pixel x as (x, x^2), or a mask token; a token h has the four cosines unit(h W) C^T.

    The class token is the mean of the patches. Elsewhere than in training, the number of passes is added to x.
    """

    def grid(self, x):
        return patch_grid(x, 1)

    @nn.compact
    def __call__(self, x, train=False, masked=None):
        w, token, prototypes = (
            self.param(name, nn.initializers.normal(1.0), shape) for name, shape in TOKEN_WEIGHTS.items()
        )
        passes = self.variable("batch_stats", "passes", jnp.zeros, ())
        if train:
            passes.value += 1
        else:
            x += passes.value
        patches = jnp.stack([x, x**2], -1).reshape(len(x), -1, 2)
        if masked is not None:
            patches = jnp.where(masked[..., None], token, patches)
        h = patches.mean(1)
        logits, patch_logits = (unit(z @ w) @ unit(prototypes).T for z in (h, patches))
        return {"features": h, "logits": logits, "patch_logits": patch_logits}


def token_weights(seed):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in TOKEN_WEIGHTS.items()}


def token_features(params, x, masked=None):
    """The class tokens [B, 2] and the patches [B, N, 2] of crops [B, h, w, 1]."""
    x = np.asarray(x, np.float64).reshape(len(x), -1)
    patches = np.stack([x, x**2], -1)
    if masked is not None:
        patches = np.where(masked[..., None], params["mask_token"], patches)
    return patches.mean(1), patches


def token_logits(params, x, masked=None):
    """The cosines of the class tokens and of the patches."""
    cosines = [toys.unit_rows(h @ params["w"]) for h in token_features(params, x, masked)]
    return [z @ toys.unit_rows(params["prototypes"]).T for z in cosines]


def token_crops(state, ratio=0.5):
    """The two large crops, the small one, and the masks [2, 5, 4] of step 3 of `siamese_toys.state_of`."""

    @jax.jit
    def draw(root):
        keys = example_keys(jax.random.fold_in(jax.random.fold_in(root, 3), 1), toys.ROWS)
        return [jax.vmap(lambda key, v=v: random_mask(jax.random.fold_in(key, v), (2, 2), ratio))(keys) for v in (0, 1)]

    images = toys.ROWS["image"]
    return [2 * images + 0.1, 2 * images + 0.1, images[:, :1]], np.stack(draw(state.rng))
