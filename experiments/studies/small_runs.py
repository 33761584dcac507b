"""Train many small networks side by side in one program, on images that fit in memory: what the studies share.

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
from dlcore.ops.checks import check_shapes

__all__ = ["Digits", "SmallNet", "ZooNet", "log_loss_and_accuracy", "minimize", "shuffled_digits", "train"]


class Digits(NamedTuple):
    """The digits of both splits.

    Args:
      images: [N, 8, 8, 1] in [0, 1], training.
      labels: [N] int in [0, 10).
      test_images: [M, 8, 8, 1] in [0, 1].
      test_labels: [M] int in [0, 10).
    """

    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def shuffled_digits(seed: int = 0) -> Digits:
    """Load scikit-learn's digits, the training split in random order.

    Args:
      seed: seed of the order.

    Returns:
      1,297 training examples, and 500 test examples of other writers.
    """
    from dlcore.data.digits import digits

    train_split, test = digits("train").arrays, digits("test").arrays
    order = np.random.default_rng(seed).permutation(len(train_split["label"]))
    return Digits(train_split["image"][order], train_split["label"][order], test["image"], test["label"])


def all_digits(seed: int) -> tuple[jax.Array, jax.Array]:
    """Join both splits of the digits, the training digits in an order of the seed, the test digits behind them.

    Args:
      seed: seed of the order.

    Returns:
      (images [N, 8, 8, 1], labels [N]).
    """
    data = shuffled_digits()
    order = np.random.default_rng(seed).permutation(len(data.labels))
    pairs = (data.images[order], data.test_images), (data.labels[order], data.test_labels)
    return tuple(jnp.asarray(np.concatenate(pair)) for pair in pairs)


class SmallNet(nn.Module):
    """A ReLU perceptron with dropout behind each hidden layer.

    Args:
      hidden: units of each hidden layer.
      batch_norm: normalize before each ReLU.
    """

    hidden: tuple[int, ...] = (128, 128)
    batch_norm: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, dropout_rate: float | jax.Array = 0.0) -> jax.Array:
        """Compute the logits.

        Args:
          x: [B, ...], flattened to [B, D].
          train: apply dropout, and use and update batch statistics.
          dropout_rate: probability of a unit to be dropped; may be traced.

        Returns:
          [B, 10], logits.
        """
        x = x.reshape(x.shape[0], -1)
        for i, size in enumerate(self.hidden):
            x = nn.Dense(size, kernel_init=nn.initializers.he_normal(), name=f"dense{i}")(x)
            x = BatchNorm(not train, name=f"norm{i}")(x) if self.batch_norm else x
            x = nn.relu(x)
            x = inverted_dropout(self.make_rng("dropout"), x, rate=dropout_rate) if train else x
        return nn.Dense(10, name="head")(x)


class ZooNet(nn.Module):
    """A model of dlcore.models with the signature that `train` calls, which has a dropout rate.

    Args:
      model: module with a call (x, train).
      training: the model's method in training, such as "auxiliary" for one that then returns more than logits.
    """

    model: nn.Module
    training: str = "__call__"

    def __call__(self, x: jax.Array, train: bool, dropout_rate: float | jax.Array = 0.0) -> Any:
        """Call the model.

        Args:
          x: [B, H, W, C].
          train: call the method `training` in training mode.
          dropout_rate: ignored; the model has its own.

        Returns:
          [B, classes], logits; in training, the output of the method `training`.
        """
        return getattr(self.model, self.training)(x, train) if train else self.model(x, train)


def minimize(
    loss: Callable[[Any, Any], jax.Array], params: Any, optimizer: optax.GradientTransformation, inputs: Any
) -> tuple[Any, jax.Array]:
    """Take a step of the optimizer for each input, in one program.

    Args:
      loss: (params, input of a step) -> [].
      params: pytree that is learned.
      optimizer: optax transformation.
      inputs: pytree of arrays [steps, ...], such as batches, keys, or the numbers of the steps.

    Returns:
      (params, losses [steps], each before its step).
    """

    def step(carry, x):
        params, state = carry
        value, gradients = jax.value_and_grad(loss)(params, x)
        updates, state = optimizer.update(gradients, state, params)
        return (optax.apply_updates(params, updates), state), value

    (params, _), losses = jax.lax.scan(step, (params, optimizer.init(params)), inputs)
    return params, losses


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
    """Train a network from scratch, as a pure function of the key.

    Args:
      key: PRNG key of weights, batches, augmentation and dropout.
      net: module with a call (x, train, dropout_rate).
      optimizer: optax transformation of the parameters.
      images: [N, ...], the training images.
      labels: [N] int.
      steps: updates, a multiple of `snapshots`.
      batch_size: examples a step, drawn with replacement.
      count: use only the first `count` examples; None uses all; may be traced.
      dropout_rate: handed to the network; may be traced.
      augment: (key, image) -> image, applied to each image of a batch; None leaves images as they are.
      extra: (apply, key) -> a term added to the loss, with apply(images, key) -> outputs in training mode; None adds 0.
      objective: (outputs, images, labels) -> the loss of a batch; None is the mean cross-entropy of logits.
      snapshots: states to return, at equal distances along the run, the last at its end.

    Returns:
      (variables, optimizer state), every leaf with a leading axis of `snapshots`.

    Raises:
      ValueError: `steps` is not a multiple of `snapshots`.
    """
    check_shapes(labels=(labels, f"{len(images)}"))
    if steps % snapshots:
        raise ValueError(f"steps={steps}: not divisible; allowed: multiples of snapshots={snapshots}")
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
    """Measure log loss and accuracy.

    Args:
      log_p: [N, C], log-probabilities.
      labels: [N] int in [0, C).
      weight: [N], weights of the examples; None weights all equally.

    Returns:
      [2], the mean of -log p_y in nats, and the share of examples whose most probable class is the label.
    """
    check_shapes(log_p=(log_p, "N C"), labels=(labels, "N"))
    weight = jnp.ones(labels.shape) if weight is None else weight
    nll = -jnp.take_along_axis(log_p, labels[:, None], 1)[:, 0]
    correct = (log_p.argmax(-1) == labels).astype(nll.dtype)
    return jnp.stack([(weight * nll).sum(), (weight * correct).sum()]) / weight.sum()
