"""The perceptron: after a mistake, add the example to the right class and subtract it from the predicted one.

Rosenblatt 1958; the bound is Novikoff 1962.

    two classes, y = ±1:   if y (w·x) <= 0:  w <- w + y x
    more:                  if c = argmax W x is not y:  W_y <- W_y + x,  W_c <- W_c - x

x has a last 1 for the bias. If some unit vector u separates the examples with y (u·x) >= γ, and all |x| <= R, then
there are at most (R/γ)² mistakes, however often and in whatever order the examples come. Without such a u it never
stops.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.classic_ml.examples import as_examples, as_rows
from dlcore.classic_ml.linear import append_one
from dlcore.ops.checks import check_finite

__all__ = ["PerceptronModel", "binary_perceptron", "margin", "predict", "train"]


class PerceptronModel(NamedTuple):
    """A trained perceptron.

    Args:
      weights: [C, D + 1], the bias last.
      classes: [C], labels.
      mistakes: [epochs], in each pass over the examples.
    """

    weights: np.ndarray
    classes: np.ndarray
    mistakes: np.ndarray


def train(images: Any, labels: Any, *, epochs: int = 20, seed: int = 0) -> PerceptronModel:
    """Fit a multiclass perceptron in one shuffled order of the examples.

    Args:
      images: [N, ...].
      labels: [N] integers.
      epochs: passes over the examples.
      seed: random seed of the order.

    Returns:
      PerceptronModel.
    """
    examples = as_examples(images, labels)
    _check(epochs)
    check_whole_number("seed", seed, 0)
    order = np.random.default_rng(seed).permutation(len(examples.rows))
    with jax.enable_x64(examples.rows.dtype == np.float64):
        rows, label = jnp.asarray(examples.rows[order]), jnp.asarray(examples.label[order])
        weights, mistakes = _passes(rows, label, len(examples.classes), epochs)
        return PerceptronModel(np.asarray(weights), examples.classes, np.asarray(mistakes))


def predict(model: PerceptronModel, images: Any) -> np.ndarray:
    """Predict the class with the largest score.

    Args:
      model: model from `train`.
      images: [M, ...].

    Returns:
      [M], labels.
    """
    rows = as_rows(images, model.weights.shape[1] - 1)
    return model.classes[(rows @ model.weights[:, :-1].T + model.weights[:, -1]).argmax(1)]


def binary_perceptron(x: np.ndarray, sign: np.ndarray, *, epochs: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Fit a binary perceptron from w = 0, in float64 and in the examples' order.

    Args:
      x: [N, D]; no bias is added.
      sign: [N], -1 or 1.
      epochs: passes over the examples.

    Returns:
      (w [D], mistakes [epochs]).
    """
    x, sign = np.asarray(x, np.float64), np.asarray(sign, np.float64)
    _check_signs(x, sign)
    _check(epochs)
    with jax.enable_x64(True):
        w, mistakes = _binary_passes(jnp.asarray(x), jnp.asarray(sign), epochs)
        return np.asarray(w), np.asarray(mistakes)


def margin(w: np.ndarray, x: np.ndarray, sign: np.ndarray) -> float:
    """Compute γ, the smallest y (w·x) / |w|, which is negative if an example is on the wrong side.

    Args:
      w: [D].
      x: [N, D].
      sign: [N], -1 or 1.

    Returns:
      Signed distance of the nearest example from the hyperplane.
    """
    x, sign = np.asarray(x), np.asarray(sign)
    _check_signs(x, sign)
    if np.shape(w) != np.shape(x)[1:] or not np.any(w):
        raise ValueError(f"w={np.asarray(w).tolist()}: no direction; allowed: [{np.shape(x)[1]}], not all 0")
    return float((sign * (x @ w)).min() / np.linalg.norm(w))


@functools.partial(jax.jit, static_argnames=("epochs",))
def _binary_passes(x, sign, epochs):
    def step(w, example):
        row, y = example
        # Only mistakes change the weights.
        is_mistake = y * (w @ row) <= 0
        return w + is_mistake * y * row, is_mistake

    def one_pass(w, _):
        w, is_mistake = jax.lax.scan(step, w, (x, sign))
        return w, is_mistake.sum()

    return jax.lax.scan(one_pass, jnp.zeros(x.shape[1], x.dtype), length=epochs)


@functools.partial(jax.jit, static_argnames=("num_classes", "epochs"))
def _passes(x, label, num_classes, epochs):
    x = append_one(x)

    def step(w, example):
        row, y = example
        c = (w @ row).argmax()
        return w.at[y].add(row).at[c].add(-row), c != y  # where c is y nothing is left of the two

    def one_pass(w, _):
        w, is_mistake = jax.lax.scan(step, w, (x, label))
        return w, is_mistake.sum()

    return jax.lax.scan(one_pass, jnp.zeros((num_classes, x.shape[1]), x.dtype), length=epochs)


def _check(epochs: int) -> None:
    check_whole_number("epochs", epochs, 1)


def _check_signs(x: np.ndarray, sign: np.ndarray) -> None:
    if x.ndim != 2 or not len(x) or sign.shape != x.shape[:1] or not np.isin(sign, (-1, 1)).all():
        raise ValueError(
            f"x.shape={x.shape} and sign.shape={sign.shape}: do not fit; allowed: [N, D], and [N] of -1 and 1"
        )
    check_finite("x", x)
