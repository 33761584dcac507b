"""Many small networks, trained side by side in one program on images that fit in memory: what the studies share.

`train` is one run as a pure function of its key; a study maps it over seeds, and over settings that may be traced
(dropout rate, weight decay, number of examples), and jits the whole.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.losses import softmax_cross_entropy_loss
from dlcore.nn import BatchNorm, inverted_dropout

__all__ = ["Digits", "SmallNet", "ZooNet", "log_loss_and_accuracy", "shuffled_digits", "train"]


class Digits(NamedTuple):
    """Images [N, 8, 8, 1] in [0, 1] and labels [N]: training and test."""

    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def shuffled_digits(seed: int = 0) -> Digits:
    """scikit-learn's digits, the 1,297 training examples in an order of that seed and the 500 of other writers."""
    from dlcore.data.digits import digits

    train_split, test = digits("train").arrays, digits("test").arrays
    order = np.random.default_rng(seed).permutation(len(train_split["label"]))
    return Digits(train_split["image"][order], train_split["label"][order], test["image"], test["label"])


class SmallNet(nn.Module):
    """A perceptron with dropout of a rate that may be traced, and batch norm before each ReLU where asked."""

    hidden: tuple[int, ...] = (128, 128)
    batch_norm: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, dropout_rate: float | jax.Array = 0.0) -> jax.Array:
        """Images [B, ...] -> logits [B, 10]."""
        x = x.reshape(x.shape[0], -1)
        for i, size in enumerate(self.hidden):
            x = nn.Dense(size, kernel_init=nn.initializers.he_normal(), name=f"dense{i}")(x)
            x = BatchNorm(not train, name=f"norm{i}")(x) if self.batch_norm else x
            x = nn.relu(x)
            x = inverted_dropout(self.make_rng("dropout"), x, rate=dropout_rate) if train else x
        return nn.Dense(10, name="head")(x)


class ZooNet(nn.Module):
    """A model of the zoo under the call of `train`, which has a rate that the model does not know.

    training: the model's method in training, for one that then gives more than logits ("auxiliary").
    """

    model: nn.Module
    training: str = "__call__"

    def __call__(self, x: jax.Array, train: bool, dropout_rate: float | jax.Array = 0.0) -> Any:
        """Images [B, H, W, C] -> logits [B, C], or in training what that method gives."""
        return getattr(self.model, self.training)(x, train) if train else self.model(x, train)


def train(
    key: jax.Array,
    net: nn.Module,
    optimizer: optax.GradientTransformation,
    images: jax.Array,
    labels: jax.Array,
    steps: int,
    *,
    batch_size: int = 64,
    count: int | jax.Array | None = None,
    dropout_rate: float | jax.Array = 0.0,
    augment: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    extra: Callable[[Callable, jax.Array], jax.Array] | None = None,
    objective: Callable[[Any, jax.Array, jax.Array], jax.Array] | None = None,
    snapshots: int = 1,
) -> tuple[dict, Any]:
    """(variables, optimiser state) after `steps` updates, all leaves with a leading axis of `snapshots` equal parts.

    count: how many of the first examples are used; batches are drawn with replacement. augment: (key, image) -> image.
    extra: (apply, key) -> a term added to the loss, with apply(images, key) -> logits in training mode.
    objective: (the net's outputs, images, labels) -> the loss of a batch, the mean cross-entropy for None.
    """
    if steps % snapshots:
        raise ValueError(f"steps is {steps}; it must be a multiple of snapshots={snapshots}")
    count = images.shape[0] if count is None else count
    variables = dict(net.init(jax.random.fold_in(key, 0), images[:2], False))
    params = variables.pop("params")
    start = (params, variables, optimizer.init(params))

    def update(carry, step):
        params, model_state, opt_state = carry
        keys = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, 1), step), 4)
        rows = jax.random.randint(keys[0], (batch_size,), 0, count)
        x, y = images[rows], labels[rows]
        if augment is not None:
            x = jax.vmap(augment)(jax.random.split(keys[1], batch_size), x)

        def loss(params):
            def apply(x, key):
                rngs = {"dropout": key}
                return net.apply(
                    {"params": params, **model_state}, x, True, dropout_rate, rngs=rngs, mutable=["batch_stats"]
                )

            outputs, updated = apply(x, keys[2])
            value = softmax_cross_entropy_loss(outputs, y).mean() if objective is None else objective(outputs, x, y)
            value += 0 if extra is None else extra(lambda x, key: apply(x, key)[0], keys[3])
            return value, dict(updated)

        gradients, model_state = jax.grad(loss, has_aux=True)(params)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return (optax.apply_updates(params, updates), model_state, opt_state), None

    def part(carry, first):
        carry = jax.lax.scan(update, carry, first + jnp.arange(steps // snapshots))[0]
        return carry, carry

    _, (params, model_state, opt_state) = jax.lax.scan(part, start, jnp.arange(snapshots) * (steps // snapshots))
    return {"params": params, **model_state}, opt_state


def log_loss_and_accuracy(log_p: jax.Array, labels: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    """[2] of log-probabilities [N, C]: the mean of -log p_y, and how often the most probable class is right."""
    weight = jnp.ones(labels.shape) if weight is None else weight
    chosen = -jnp.take_along_axis(log_p, labels[:, None], 1)[:, 0]
    right = (log_p.argmax(-1) == labels).astype(chosen.dtype)
    return jnp.stack([(weight * chosen).sum(), (weight * right).sum()]) / weight.sum()
