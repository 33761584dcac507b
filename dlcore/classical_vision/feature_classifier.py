"""A small classifier on features in place of pixels: concatenate features, standardize them, fit one or two layers.

Before networks learned features this was the whole of image classification (Csurka et al. 2004; Dalal & Triggs 2005).

    x = [f_1(image), f_2(image), ...],   each number with mean 0 and deviation 1 over the training images
    linear     s = W x + b                            two layers   s = W2 max(0, W1 x + b1) + b2
    minimize   mean loss(s, y) + l2 / 2 Σ |W|^2       loss: softmax cross-entropy, or the multiclass hinge (SVM)

Training is L-BFGS on all examples at once, in one compiled loop. The linear problem is convex: only l2 needs tuning.
"""

import functools
import itertools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.choices import check_choice, check_whole_number
from dlcore.data.preprocess import Standardizer, fit_standardizer
from dlcore.learner import root_key
from dlcore.losses import multiclass_hinge_loss, softmax_cross_entropy_loss
from dlcore.ops.checks import check_class_ids, check_finite, check_shapes

__all__ = ["FeatureClassifier", "choose_l2", "concatenate", "fit_classifier"]

_LOSSES = {"softmax": softmax_cross_entropy_loss, "hinge": multiclass_hinge_loss}


class FeatureClassifier(NamedTuple):
    """A trained classifier of features.

    Args:
      standardizer: fitted to the training features.
      layers: (W [D, M], b [M]) of each layer.
      history: [steps], the objective before each step.
    """

    standardizer: Standardizer
    layers: tuple[tuple[jax.Array, jax.Array], ...]
    history: jax.Array

    def scores(self, features: Any) -> jax.Array:
        """Compute class scores.

        Args:
          features: [N, D].

        Returns:
          [N, C].
        """
        return _scores(self.layers, jnp.asarray(self.standardizer(_rows("features", features)), jnp.float32))

    def predict(self, features: Any) -> np.ndarray:
        """Predict the class with the largest score.

        Args:
          features: [N, D].

        Returns:
          [N], classes.
        """
        return np.asarray(self.scores(features).argmax(1))


def concatenate(*features: Any) -> np.ndarray:
    """Concatenate features of the same images.

    Args:
      *features: [N, ...] each, at least one.

    Returns:
      [N, D] float32.
    """
    if len({len(f) for f in features}) != 1:
        raise ValueError(
            f"features of lengths {[len(f) for f in features]}: do not fit; allowed: one or more of the same length"
        )
    return np.concatenate([np.asarray(f, np.float32).reshape(len(f), -1) for f in features], 1)


def fit_classifier(
    features: Any,
    labels: Any,
    num_classes: int,
    *,
    hidden: int | None = None,
    loss: Literal["softmax", "hinge"] = "softmax",
    l2: float = 1e-4,
    steps: int = 200,
    seed: int = 0,
) -> FeatureClassifier:
    """Fit a linear or two-layer classifier by L-BFGS.

    Args:
      features: [N, D].
      labels: [N] int, in [0, num_classes).
      num_classes: C.
      hidden: units of a hidden layer; None fits a linear classifier.
      loss: softmax or hinge.
      l2: weight of the penalty l2/2 Σ |W|².
      steps: number of steps of L-BFGS.
      seed: random seed of the hidden layer's initial weights.

    Returns:
      FeatureClassifier.
    """
    features, labels = _rows("features", features), np.asarray(labels)
    if labels.shape != features.shape[:1]:
        raise ValueError(
            f"labels.shape={labels.shape}: does not fit features.shape={features.shape}; allowed: [{len(features)}]"
        )
    check_whole_number("num_classes", num_classes, 1)
    check_whole_number("steps", steps, 1)
    check_shapes(hidden=(hidden, "int >= 1 or None"))
    check_class_ids("labels", labels, num_classes)
    check_choice("loss", loss, _LOSSES)
    check_shapes(l2=(l2, ">= 0"))
    check_finite("l2", l2)
    standardizer = fit_standardizer(features)
    x = jnp.asarray(standardizer(features), jnp.float32)
    sizes = (x.shape[1], num_classes) if hidden is None else (x.shape[1], hidden, num_classes)
    layers, history = _fit(x, jnp.asarray(labels), _initial(sizes, seed), l2, loss, steps)
    return FeatureClassifier(standardizer, layers, history)


def choose_l2(
    train: tuple[Any, Any],
    valid: tuple[Any, Any],
    num_classes: int,
    grid: tuple[float, ...] = (1e-4, 1e-3, 1e-2),
    **fit,
) -> tuple[FeatureClassifier, float, dict[float, float]]:
    """Choose the penalty with the best validation accuracy, of equals the largest.

    Args:
      train: (features [N, D], labels [N]).
      valid: (features [M, D], labels [M]).
      num_classes: C.
      grid: values of l2 to try.
      **fit: further arguments of `fit_classifier`.

    Returns:
      (the best classifier, its l2, {l2: validation accuracy}).
    """
    if not grid:
        raise ValueError("grid=(): empty; allowed: at least one l2")
    for name, pair in (("train", train), ("valid", valid)):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(f"{name}: no pair; allowed: (features, labels)")
    classifiers = {l2: fit_classifier(*train, num_classes, l2=l2, **fit) for l2 in sorted(grid, reverse=True)}
    accuracy = {l2: float((c.predict(valid[0]) == np.asarray(valid[1])).mean()) for l2, c in classifiers.items()}
    best = max(accuracy, key=accuracy.get)
    return classifiers[best], best, accuracy


def _rows(name: str, features: Any) -> np.ndarray:
    check_finite(name, features)
    features = np.asarray(features, np.float32)
    if features.ndim != 2 or not features.size:
        raise ValueError(f"{name}.shape={features.shape}: wrong shape; allowed: [N, D]")
    return features


def _initial(sizes, seed):
    """He's normal weights below a ReLU; the last layer starts at 0, where all classes are equal."""
    layers = []
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        key = jax.random.fold_in(root_key(seed), i)
        last = i == len(sizes) - 2
        scale = 0.0 if last else (2 / fan_in) ** 0.5
        layers.append((scale * jax.random.normal(key, (fan_in, fan_out)), jnp.zeros(fan_out)))
    return tuple(layers)


def _scores(layers, x):
    for w, b in layers[:-1]:
        x = jax.nn.relu(x @ w + b)
    return x @ layers[-1][0] + layers[-1][1]


@functools.partial(jax.jit, static_argnums=(4, 5))
def _fit(x, labels, layers, l2, loss, steps):
    def objective(layers):
        penalty = sum(jnp.square(w).sum() for w, _ in layers)
        return _LOSSES[loss](_scores(layers, x), labels).mean() + l2 / 2 * penalty

    optimizer = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(objective)

    def step(carry, _):
        layers, state = carry
        value, gradient = value_and_grad(layers, state=state)
        updates, state = optimizer.update(gradient, state, layers, value=value, grad=gradient, value_fn=objective)
        return (optax.apply_updates(layers, updates), state), value

    (layers, _), history = jax.lax.scan(step, (layers, optimizer.init(layers)), None, length=steps)
    return layers, history
