"""Train a linear classifier: by random search, by minibatch gradient descent, or by L-BFGS to the minimum.

    random search    draw W, keep the best                           the baseline of all optimizers
    momentum         v <- ρ v + g,  w <- w - α v                     Polyak 1964; g of a minibatch
    L-BFGS           on all examples, until the gradient vanishes    for the smooth losses, which are convex

The gradients are those written out in `linear`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.choices import check_choice, check_whole_number
from dlcore.classic_ml.examples import as_examples, as_rows
from dlcore.classic_ml.linear import LOSSES, Linear, objective, scores
from dlcore.learner import root_key
from dlcore.ops.checks import check_class_ids, check_finite, check_shapes
from dlcore.ops.precision import centered, to_acc_dtype

__all__ = ["LinearModel", "descend", "minimize", "momentum_step", "predict", "random_search", "train"]


class LinearModel(NamedTuple):
    """A trained linear classifier, as numpy arrays.

    Args:
      parameters: weights [C, D] and bias [C].
      classes: [C], labels.
    """

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
    """Fit a linear classifier by `descend`.

    Args:
      images: [N, ...], values of about unit size.
      labels: [N] integers.
      loss: softmax, logistic, hinge or squared_hinge.
      l2: weight of the penalty l2/2 |W|².
      learning_rate: learning rate of the steps.
      momentum: ρ of the steps.
      steps: number of updates.
      batch_size: examples per step.
      seed: random seed of the minibatches.

    Returns:
      LinearModel.
    """
    examples = as_examples(images, labels)
    with jax.enable_x64(examples.rows.dtype == np.float64):
        parameters, _ = descend(
            jnp.asarray(examples.rows),
            jnp.asarray(examples.label),
            num_classes=len(examples.classes),
            loss=loss,
            l2=l2,
            learning_rate=learning_rate,
            momentum=momentum,
            steps=steps,
            batch_size=batch_size,
            seed=seed,
        )
        check_finite(f"weights at learning_rate={learning_rate}", parameters.weights)
        return LinearModel(Linear(*map(np.asarray, parameters)), examples.classes)


def predict(model: LinearModel, images: Any) -> np.ndarray:
    """Predict the class with the largest score.

    Args:
      model: model from `train`.
      images: [M, ...].

    Returns:
      [M], labels.
    """
    rows = as_rows(images, model.parameters.weights.shape[1])
    return model.classes[scores(model.parameters, rows).argmax(1)]


def momentum_step(w: Any, v: Any, g: Any, learning_rate: float, momentum: float) -> tuple[Any, Any]:
    """Take one step of gradient descent with momentum on pytrees: v <- ρ v + g, w <- w - α v.

    Args:
      w: parameters.
      v: velocities, zeros at first.
      g: gradients.
      learning_rate: α.
      momentum: ρ.

    Returns:
      (w, v) after the step.
    """
    check_shapes(learning_rate=(learning_rate, ">= 0"), momentum=(momentum, "0 to <1"))
    check_finite("learning_rate", learning_rate)
    v = jax.tree.map(lambda v, g: momentum * v + g, v, g)
    return jax.tree.map(lambda w, v: w - learning_rate * v, w, v), v


def _checked(function: Callable) -> Callable:
    """Check labels and numbers before they are traced."""

    @functools.wraps(function)
    def checked(x: jax.Array, label: jax.Array, *, num_classes: int, **settings: Any) -> tuple[Linear, jax.Array]:
        check_whole_number("num_classes", num_classes, 1)
        check_shapes(x=(x, "N D finite"), label=(label, "int N"))
        label = jnp.asarray(label)
        if not len(x):
            raise ValueError(f"x.shape={np.shape(x)}: empty; allowed: at least one example")
        check_class_ids("label", label, num_classes)
        for name, value in settings.items():
            if name in ("steps", "batch_size", "tries"):
                check_whole_number(name, value, 1)
            elif name in ("l2", "learning_rate", "scale"):
                check_shapes(**{name: (value, ">= 0")})
                check_finite(name, value)
            elif name == "momentum":
                check_shapes(momentum=(value, "0 to <1"))
                check_finite("momentum", value)
            elif name == "loss":
                check_choice("loss", value, LOSSES)
            elif name == "optimizer" and value is not None and not hasattr(value, "update"):
                raise ValueError(f"optimizer={value!r}: no optimizer; allowed: an optax transformation, or None")
        if isinstance(function, jax.stages.Wrapped):  # under jit, whole numbers would wrap at 32 bits
            x = to_acc_dtype(x)
        return function(x, label, num_classes=num_classes, **settings)

    return checked


@_checked
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
    """Fit W from 0 on minibatches drawn with replacement.

    Args:
      x: [N, D].
      label: [N] int, classes in [0, num_classes).
      num_classes: C.
      loss: softmax, logistic, hinge or squared_hinge.
      l2: weight of the penalty l2/2 |W|².
      learning_rate: learning rate of the steps.
      momentum: ρ of the steps.
      steps: number of updates.
      batch_size: examples per step.
      seed: random seed of the minibatches.
      optimizer: replaces `momentum_step`, learning_rate and momentum; None keeps them.

    Returns:
      (parameters, losses [steps] of the minibatches).

    Raises:
      ValueError: `x` is not finite [N, D], a label is no class, a number is out of range, or `loss` is not in LOSSES.
    """

    def update(carry, step):
        w, state = carry
        # One minibatch, drawn with replacement.
        rows = jax.random.randint(jax.random.fold_in(root_key(seed), step), (batch_size,), 0, len(x))
        value, g = objective(w, x[rows], label[rows], loss, l2)
        if optimizer is None:
            return momentum_step(w, state, g, learning_rate, momentum), value
        updates, state = optimizer.update(g, state, w)
        return (optax.apply_updates(w, updates), state), value

    w = _zeros(x, num_classes)
    start = (w, w if optimizer is None else optimizer.init(w))
    (w, _), losses = jax.lax.scan(update, start, jnp.arange(steps))
    return w, losses


@_checked
def minimize(
    x: jax.Array, label: jax.Array, *, num_classes: int, loss: str = "softmax", l2: float = 0.0, steps: int = 200
) -> tuple[Linear, jax.Array]:
    """Fit W from 0 on all examples by L-BFGS.

    Args:
      x: [N, D].
      label: [N] int, classes in [0, num_classes).
      num_classes: C.
      loss: softmax, logistic or squared_hinge.
      l2: weight of the penalty l2/2 |W|².
      steps: number of steps of L-BFGS.

    Returns:
      (parameters, the largest |gradient| there).
    """
    if loss == "hinge":
        raise ValueError(f"loss='hinge': has kinks; allowed: {', '.join(name for name in LOSSES if name != 'hinge')}")
    x, center = centered(x)
    w, gradient = _minimize(x, label, num_classes, loss, l2, steps)
    by_weights = gradient.weights + gradient.bias[:, None] * center  # back about 0, as the bias
    largest = jnp.maximum(jnp.abs(by_weights).max(), jnp.abs(gradient.bias).max())
    return w._replace(bias=w.bias - (w.weights * center).sum(1)), largest


@functools.partial(jax.jit, static_argnums=(2, 3, 5))
def _minimize(x, label, num_classes, loss, l2, steps):
    optimizer = optax.lbfgs()
    # In units of the root of its curvature every weight has about the same.
    curvature = jnp.square(x).mean(0) + l2
    unit = jnp.sqrt(jnp.where(curvature > 0, curvature, 1))

    def in_units(w):
        return Linear(w.weights / unit, w.bias)

    def slope(w):
        value, g = objective(in_units(w), x, label, loss, l2)
        return value, in_units(g)

    def update(carry, _):
        w, state = carry
        # Full-batch L-BFGS; its line search evaluates the objective again.
        current, g = slope(w)
        updates, state = optimizer.update(g, state, w, value=current, grad=g, value_fn=lambda w: slope(w)[0])
        return (optax.apply_updates(w, updates), state), None

    w = _zeros(x, num_classes)
    (w, _), _ = jax.lax.scan(update, (w, optimizer.init(w)), length=steps)
    return in_units(w), objective(in_units(w), x, label, loss, l2)[1]


@_checked
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
    """Draw normal weights many times and keep those with the lowest loss.

    Args:
      x: [N, D].
      label: [N] int, classes in [0, num_classes).
      num_classes: C.
      loss: softmax, logistic, hinge or squared_hinge.
      tries: number of draws.
      scale: standard deviation of the weights.
      seed: random seed.

    Returns:
      (the best parameters, the lowest loss so far [tries]).

    Raises:
      ValueError: `x` is not finite [N, D], a label is no class, a number is out of range, or `loss` is not in LOSSES.
    """

    def attempt(best, key):
        w = jax.tree.map(lambda z: scale * jax.random.normal(key, z.shape, z.dtype), zero)
        # Keep the best guess so far.
        value = objective(w, x, label, loss, 0.0)[0]
        best = jax.tree.map(lambda new, old: jnp.where(value < best[1], new, old), (w, value), best)
        return best, best[1]

    zero = _zeros(x, num_classes)
    start = (zero, jnp.array(jnp.inf, x.dtype))
    (w, _), lowest = jax.lax.scan(attempt, start, jax.random.split(root_key(seed), tries))
    return w, lowest


def _zeros(x: jax.Array, num_classes: int) -> Linear:
    return Linear(jnp.zeros((num_classes, x.shape[1]), x.dtype), jnp.zeros(num_classes, x.dtype))
