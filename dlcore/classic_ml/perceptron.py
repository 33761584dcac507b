"""The perceptron: after a mistake, add the example to the right class and take it from the wrong one.

Rosenblatt 1958; the bound is Novikoff 1962.

    two classes, y = ±1:   if y (w·x) <= 0:  w <- w + y x
    more:                  if c = argmax W x is not y:  W_y <- W_y + x,  W_c <- W_c - x

x has a last 1 for the bias. If some unit u separates the examples with y (u·x) >= γ, and all |x| <= R, then there are
at most (R/γ)² mistakes, however often and in whatever order the examples come. Without such a u it never stops.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classic_ml.examples import as_examples, as_rows
from dlcore.classic_ml.linear import append_one

__all__ = ["PerceptronModel", "binary_perceptron", "margin", "predict", "train"]


class PerceptronModel(NamedTuple):
    """weights: [C, D + 1], the bias last. classes: [C] labels. mistakes: [epochs] in each pass over the examples."""

    weights: np.ndarray
    classes: np.ndarray
    mistakes: np.ndarray


def train(images: Any, labels: Any, *, epochs: int = 20, seed: int = 0) -> PerceptronModel:
    """Pass over images [N, ...] with labels [N] in an order of that seed.

    Raises:
      ValueError: see `as_examples`; epochs is below 1.
    """
    examples = as_examples(images, labels)
    _check(epochs)
    order = np.random.default_rng(seed).permutation(len(examples.rows))
    with jax.enable_x64(examples.rows.dtype == np.float64):
        rows, label = jnp.asarray(examples.rows[order]), jnp.asarray(examples.label[order])
        weights, mistakes = _passes(rows, label, len(examples.classes), epochs)
        return PerceptronModel(np.asarray(weights), examples.classes, np.asarray(mistakes))


def predict(model: PerceptronModel, images: Any) -> np.ndarray:
    """Labels [M] of images [M, ...]."""
    rows = as_rows(images, model.weights.shape[1] - 1)
    return model.classes[(rows @ model.weights[:, :-1].T + model.weights[:, -1]).argmax(1)]


def binary_perceptron(x: np.ndarray, sign: np.ndarray, *, epochs: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """(w [D], mistakes [epochs]) of x: [N, D] as it is and sign: [N] of ±1, in their order, from w = 0, in float64.

    Raises:
      ValueError: the shapes do not fit, sign holds something else, or epochs is below 1.
    """
    x, sign = np.asarray(x, np.float64), np.asarray(sign, np.float64)
    _check_signs(x, sign)
    _check(epochs)
    with jax.enable_x64(True):
        w, mistakes = _binary_passes(jnp.asarray(x), jnp.asarray(sign), epochs)
        return np.asarray(w), np.asarray(mistakes)


def margin(w: np.ndarray, x: np.ndarray, sign: np.ndarray) -> float:
    """γ, the smallest y (w·x) / |w|: how far the nearest example is on its right side; negative where one is not."""
    _check_signs(np.asarray(x), np.asarray(sign))
    return float((sign * (x @ w)).min() / np.linalg.norm(w))


@functools.partial(jax.jit, static_argnames=("epochs",))
def _binary_passes(x, sign, epochs):
    def step(w, example):
        row, y = example
        wrong = y * (w @ row) <= 0
        return w + wrong * y * row, wrong

    def one_pass(w, _):
        w, wrong = jax.lax.scan(step, w, (x, sign))
        return w, wrong.sum()

    return jax.lax.scan(one_pass, jnp.zeros(x.shape[1], x.dtype), length=epochs)


@functools.partial(jax.jit, static_argnames=("num_classes", "epochs"))
def _passes(x, label, num_classes, epochs):
    x = append_one(x)

    def step(w, example):
        row, y = example
        c = (w @ row).argmax()
        return w.at[y].add(row).at[c].add(-row), c != y  # where c is y nothing is left of the two

    def one_pass(w, _):
        w, wrong = jax.lax.scan(step, w, (x, label))
        return w, wrong.sum()

    return jax.lax.scan(one_pass, jnp.zeros((num_classes, x.shape[1]), x.dtype), length=epochs)


def _check(epochs: int) -> None:
    if epochs < 1:
        raise ValueError(f"epochs is {epochs}; it must be at least 1")


def _check_signs(x: np.ndarray, sign: np.ndarray) -> None:
    if x.ndim != 2 or sign.shape != x.shape[:1] or not np.isin(sign, (-1, 1)).all():
        raise ValueError(f"x has shape {x.shape} and sign {sign.shape}; they must be [N, D] and [N] of -1 and 1")
