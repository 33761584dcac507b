"""Features in place of pixels: concatenate what was measured, standardise it, and learn a small classifier on it.

Before networks learnt features this was the whole of image classification (Csurka et al. 2004; Dalal & Triggs 2005).

    x = [f_1(image), f_2(image), ...],   each number with mean 0 and deviation 1 over the training images
    linear     s = W x + b                            two layers   s = W2 max(0, W1 x + b1) + b2
    minimise   mean loss(s, y) + l2 / 2 Σ |W|^2       loss: softmax cross-entropy, or the multiclass hinge (SVM)

by L-BFGS on all examples at once, in one compiled loop. The linear problem is convex: nothing is to be tuned but l2.
"""

import functools
import itertools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.data.preprocess import Standardizer, fit_standardizer
from dlcore.losses import multiclass_hinge_loss, softmax_cross_entropy_loss

__all__ = ["FeatureClassifier", "choose_l2", "concatenate", "fit_classifier"]

_LOSSES = {"softmax": softmax_cross_entropy_loss, "hinge": multiclass_hinge_loss}


class FeatureClassifier(NamedTuple):
    """standardizer; layers: ((W [D, M], b [M]), ...); history: [steps], the objective before each step."""

    standardizer: Standardizer
    layers: tuple[tuple[jax.Array, jax.Array], ...]
    history: jax.Array

    def scores(self, features: Any) -> jax.Array:
        """[N, D] -> [N, C]."""
        return _scores(self.layers, jnp.asarray(self.standardizer(_rows("features", features)), jnp.float32))

    def predict(self, features: Any) -> np.ndarray:
        """[N, D] -> classes [N]."""
        return np.asarray(self.scores(features).argmax(1))


def concatenate(*features: Any) -> np.ndarray:
    """Features [N, ...] of the same images side by side: [N, D], float32. Raises ValueError for other N, or none."""
    if not features or len({len(f) for f in features}) != 1:
        raise ValueError(f"features have lengths {[len(f) for f in features]}; give one or more of the same length")
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
    """Train on features [N, D] with labels [N].

    hidden: units of a layer between, None for a linear classifier. seed: of a hidden layer's initial weights.

    Raises:
      ValueError: shapes do not fit, a label is outside [0, num_classes), l2 is negative, steps or hidden is below 1.
    """
    features, labels = _rows("features", features), np.asarray(labels)
    if labels.shape != features.shape[:1]:
        raise ValueError(
            f"labels has shape {labels.shape}; with features {features.shape} it must be [{len(features)}]"
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(f"labels run from {labels.min()} to {labels.max()}; they must lie in 0..{num_classes - 1}")
    if loss not in _LOSSES:
        raise ValueError(f"loss is {loss!r}; allowed are {', '.join(_LOSSES)}")
    if not l2 >= 0:
        raise ValueError(f"l2 is {l2}; it must not be negative")
    if steps < 1 or (hidden is not None and hidden < 1):
        raise ValueError(f"steps is {steps} and hidden {hidden}; they must be at least 1 (hidden: or None)")
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
    """(the classifier, its l2, {l2: validation accuracy}) of the l2 that is best on valid; of equals the largest.

    train, valid: (features [N, D], labels [N]). fit: further arguments of `fit_classifier`.
    """
    if not grid:
        raise ValueError("grid is empty; it must hold at least one l2")
    found = {l2: fit_classifier(*train, num_classes, l2=l2, **fit) for l2 in sorted(grid, reverse=True)}
    accuracy = {l2: float((c.predict(valid[0]) == np.asarray(valid[1])).mean()) for l2, c in found.items()}
    best = max(accuracy, key=accuracy.get)
    return found[best], best, accuracy


def _rows(name: str, features: Any) -> np.ndarray:
    features = np.asarray(features, np.float32)
    if features.ndim != 2 or not features.size:
        raise ValueError(f"{name} has shape {features.shape}; it must be [N, D]")
    return features


def _initial(sizes, seed):
    """He's normal weights below a ReLU; the last layer starts at 0, where all classes are equal."""
    layers = []
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        key = jax.random.fold_in(jax.random.key(seed), i)
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
