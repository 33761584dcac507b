"""How to find the W of a linear classifier: at random, down the gradient in minibatches, or to the very minimum.

    random search    draw W, keep the best                           the baseline of all optimisers
    momentum         v <- ρ v + g,  w <- w - α v                     Polyak 1964; g of a minibatch
    L-BFGS           on all examples, until the gradient vanishes    for the smooth losses, which are convex

The gradients are those written out in `linear`.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.classic_ml.examples import as_examples, as_rows
from dlcore.classic_ml.linear import LOSSES, Linear, objective, scores

__all__ = ["LinearModel", "descend", "minimise", "momentum_step", "predict", "random_search", "train"]


class LinearModel(NamedTuple):
    """parameters: weights [C, D] and bias [C] as numpy. classes: [C] labels."""

    parameters: Linear
    classes: np.ndarray


def train(
    images: Any,
    labels: Any,
    *,
    loss: str = "softmax",
    l2: float = 1e-4,
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    steps: int = 2000,
    batch_size: int = 128,
    seed: int = 0,
) -> LinearModel:
    """Fit images [N, ...], of numbers of about unit size, and labels [N] by `descend`.

    Raises:
      ValueError: see `as_examples` and `descend`.
    """
    examples = as_examples(images, labels)
    with jax.enable_x64(examples.rows.dtype == np.float64):
        parameters, _ = descend(
            jnp.asarray(examples.rows), jnp.asarray(examples.label), num_classes=len(examples.classes), loss=loss,
            l2=l2, learning_rate=learning_rate, momentum=momentum, steps=steps, batch_size=batch_size, seed=seed,
        )  # fmt: skip
        return LinearModel(Linear(*map(np.asarray, parameters)), examples.classes)


def predict(model: LinearModel, images: Any) -> np.ndarray:
    """Labels [M] of images [M, ...]: the class of the largest score."""
    rows = as_rows(images, model.parameters.weights.shape[1])
    return model.classes[scores(model.parameters, rows).argmax(1)]


def momentum_step(w: Any, v: Any, g: Any, learning_rate: float, momentum: float) -> tuple[Any, Any]:
    """(w, v) after a step, on pytrees: v <- ρ v + g, w <- w - α v."""
    v = jax.tree.map(lambda v, g: momentum * v + g, v, g)
    return jax.tree.map(lambda w, v: w - learning_rate * v, w, v), v


@functools.partial(jax.jit, static_argnames=("num_classes", "loss", "steps", "batch_size", "optimizer", "seed"))
def descend(
    x: jax.Array,
    label: jax.Array,
    *,
    num_classes: int,
    loss: str = "softmax",
    l2: float = 0.0,
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    steps: int = 1000,
    batch_size: int = 128,
    seed: int = 0,
    optimizer: optax.GradientTransformation | None = None,
) -> tuple[Linear, jax.Array]:
    """(parameters, losses [steps] of the minibatches) from W = 0, on x: [N, D], label: [N] int in [0, num_classes).

    Minibatches are drawn with replacement. optimizer: takes the place of `momentum_step`.

    Raises:
      ValueError: steps or batch_size is below 1; the loss is no name of LOSSES.
    """
    if steps < 1 or batch_size < 1:
        raise ValueError(f"steps={steps} and batch_size={batch_size} must be at least 1")

    def update(carry, step):
        w, state = carry
        rows = jax.random.randint(jax.random.fold_in(jax.random.key(seed), step), (batch_size,), 0, len(x))
        value, g = objective(w, x[rows], label[rows], loss, l2)
        if optimizer is None:
            return momentum_step(w, state, g, learning_rate, momentum), value
        added, state = optimizer.update(g, state, w)
        return (optax.apply_updates(w, added), state), value

    w = _zeros(x, num_classes)
    start = (w, w if optimizer is None else optimizer.init(w))
    (w, _), losses = jax.lax.scan(update, start, jnp.arange(steps))
    return w, losses


@functools.partial(jax.jit, static_argnames=("num_classes", "loss", "steps"))
def minimise(
    x: jax.Array, label: jax.Array, *, num_classes: int, loss: str = "softmax", l2: float = 0.0, steps: int = 200
) -> tuple[Linear, jax.Array]:
    """(parameters, the largest |gradient| there) after `steps` of L-BFGS on all of x: [N, D], label: [N] from W = 0.

    Raises:
      ValueError: the loss is the hinge, which has kinks, or no name of LOSSES.
    """
    if loss == "hinge":
        raise ValueError(f"loss is 'hinge', which has kinks; allowed are {', '.join(set(LOSSES) - {'hinge'})}")
    optimizer = optax.lbfgs()

    def value(w):
        return objective(w, x, label, loss, l2)[0]

    def update(carry, _):
        w, state = carry
        level, g = objective(w, x, label, loss, l2)
        added, state = optimizer.update(g, state, w, value=level, grad=g, value_fn=value)
        return (optax.apply_updates(w, added), state), None

    w = _zeros(x, num_classes)
    (w, _), _ = jax.lax.scan(update, (w, optimizer.init(w)), length=steps)
    left = objective(w, x, label, loss, l2)[1]
    return w, jnp.maximum(jnp.abs(left.weights).max(), jnp.abs(left.bias).max())


@functools.partial(jax.jit, static_argnames=("num_classes", "loss", "tries", "seed"))
def random_search(
    x: jax.Array,
    label: jax.Array,
    *,
    num_classes: int,
    loss: str = "softmax",
    tries: int = 1000,
    scale: float = 0.1,
    seed: int = 0,
) -> tuple[Linear, jax.Array]:
    """(the best parameters, the lowest loss so far [tries]) of `tries` draws of normal weights of size `scale`."""

    def attempt(best, key):
        w = jax.tree.map(lambda z: scale * jax.random.normal(key, z.shape, z.dtype), zero)
        value = objective(w, x, label, loss, 0.0)[0]
        best = jax.tree.map(lambda new, old: jnp.where(value < best[1], new, old), (w, value), best)
        return best, best[1]

    zero = _zeros(x, num_classes)
    start = (zero, jnp.array(jnp.inf, x.dtype))
    (w, _), levels = jax.lax.scan(attempt, start, jax.random.split(jax.random.key(seed), tries))
    return w, levels


def _zeros(x: jax.Array, num_classes: int) -> Linear:
    return Linear(jnp.zeros((num_classes, x.shape[1]), x.dtype), jnp.zeros(num_classes, x.dtype))
