"""What the studies of a network that learned names alone share: scenes of one shape, the network, and its training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.data.masks import unpack_masks
from dlcore.data.scenes import SHAPES, scenes
from dlcore.nn import Conv, GroupNorm
from dlcore.ops import global_avg_pool, max_pool
from experiments.studies.small_detectors import standardize

__all__ = ["NOTHING", "Classifier", "fit", "single_shapes"]

NOTHING = len(SHAPES)
"""Label of an empty scene."""


class Classifier(nn.Module):
    """Images [B, H, W, 3] -> (logits [B, num_classes], {"last": map [B, H / 4, W / 4, 4 width]})."""

    width: int = 12
    num_classes: int = len(SHAPES)

    @nn.compact
    def __call__(self, x, perturbations=None):
        for i, (factor, stride) in enumerate([(1, 2), (2, 1), (2, 2), (4, 1)]):
            x = Conv(factor * self.width, (3, 3), stride, padding=1, name=f"conv{i}")(x)
            x = nn.relu(GroupNorm(4, name=f"norm{i}")(x))
        x = x + perturbations["last"] if perturbations else x
        # Not x.max((1, 2)): its gradient compares x with the maximum, and is 0 / 0 where XLA computes x twice, rounded
        # in two ways.
        pooled = [max_pool(x, x.shape[1:3])[:, 0, 0], global_avg_pool(x)]
        return nn.Dense(self.num_classes, name="head")(jnp.concatenate(pooled, -1)), {"last": x}


def single_shapes(count: int, seed: int, size: int, empty: float = 0.0) -> dict[str, np.ndarray]:
    """Draw scenes of at most one shape: image [N, H, W, 3] uint8, label [N], box [N, 4] and mask [N, H, W]."""
    limits = {"smallest": size // 4, "largest": size // 2}
    arrays = scenes(count, seed, size=size, max_boxes=1, empty=empty, masks=True, **limits).arrays
    label = np.where(arrays["box_mask"][:, 0], arrays["labels"][:, 0], NOTHING)
    mask = unpack_masks(arrays["masks"], size)[:, 0]
    return {"image": arrays["image"], "label": label, "box": arrays["boxes"][:, 0], "mask": mask}


def fit(
    net: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    steps: int,
    batch_size: int,
    seed: int,
    learning_rate: float = 4e-3,
):
    """Train on flipped and turned scenes: the variables."""
    optimizer = optax.adam(optax.warmup_cosine_decay_schedule(0, learning_rate, max(1, steps // 10), max(2, steps)))
    variables = net.init(jax.random.key(seed), standardize(images[:1]))

    @jax.jit
    def step(variables, state, x, y):
        def loss(variables):
            return optax.softmax_cross_entropy_with_integer_labels(net.apply(variables, standardize(x))[0], y).mean()

        updates, state = optimizer.update(jax.grad(loss)(variables), state, variables)
        return optax.apply_updates(variables, updates), state

    state, rng = optimizer.init(variables), np.random.default_rng(seed)
    for _ in range(steps):
        rows = rng.integers(0, len(labels), batch_size)
        x = np.rot90(images[rows][:, :, :: rng.choice([-1, 1])], rng.integers(4), (1, 2))
        variables, state = step(variables, state, np.ascontiguousarray(x), labels[rows])
    return variables
