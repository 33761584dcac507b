"""Two layers and more: a fully connected network s = W_2 max(0, W_1 x + b_1) + b_2, trained by hand.

Four ways to see it: products of matrices with a kink between them (`scores`); a graph in which every neuron is joined
to every one of the next layer (`edges`); equations, one a neuron (`equations`); and, by a loose analogy, cells that sum
what their dendrites bring and fire above a threshold (`neuron`). Rows of W_1 are templates, and W_2 mixes them, so that
a class can have several. Without the kink the layers collapse to one matrix, W_2 W_1 (`collapse`).

    δ_L = p - onehot(y),    δ_(l-1) = (δ_l W_l) · [h_(l-1) > 0],    ∂L/∂W_l = δ_lᵀ h_(l-1),    ∂L/∂b_l = Σ δ_l
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classic_ml.examples import as_examples, as_rows
from dlcore.classic_ml.linear import Linear, softmax_loss
from dlcore.classic_ml.linear_training import momentum_step

__all__ = [
    "Counts", "MLPModel", "collapse", "count", "edges", "equations", "gradients", "initialise", "neuron", "predict",
    "scores", "train",
]  # fmt: skip

Layers = Sequence[Linear]


class MLPModel(NamedTuple):
    """layers: weights [out, in] and bias [out] of each. classes: [C] labels. losses: [steps] of the minibatches."""

    layers: tuple[Linear, ...]
    classes: np.ndarray
    losses: np.ndarray


class Counts(NamedTuple):
    """Neurons without the inputs, which compute nothing; parameters = weights + biases."""

    neurons: int
    weights: int
    biases: int
    parameters: int


def count(sizes: Sequence[int]) -> Counts:
    """Of a network of these layer sizes, the input first; 3, 4, 4, 1 has 4 + 4 + 1 neurons and 12 + 16 + 4 weights.

    Raises:
      ValueError: fewer than two sizes, or one below 1.
    """
    sizes = _checked(sizes)
    neurons, weights = sum(sizes[1:]), sum(a * b for a, b in itertools.pairwise(sizes))
    return Counts(neurons, weights, neurons, weights + neurons)


def edges(sizes: Sequence[int]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The graph: ((layer, neuron), (layer + 1, neuron)) of every weight, layer 0 the input."""
    sizes = _checked(sizes)
    return [
        ((layer, i), (layer + 1, j))
        for layer, (a, b) in enumerate(itertools.pairwise(sizes))
        for j in range(b)
        for i in range(a)
    ]


def equations(sizes: Sequence[int]) -> list[str]:
    """One line a neuron: h1_0 = max(0, w1_00 x_0 + w1_01 x_1 + b1_0), and at last s_0 = ... without the max."""
    sizes, lines = _checked(sizes), []
    for layer, (a, b) in enumerate(itertools.pairwise(sizes), 1):
        below = "x" if layer == 1 else f"h{layer - 1}"
        for j in range(b):
            total = " + ".join([f"w{layer}_{j}{i} {below}_{i}" for i in range(a)] + [f"b{layer}_{j}"])
            last = layer == len(sizes) - 1
            lines.append(f"s_{j} = {total}" if last else f"h{layer}_{j} = max(0, {total})")
    return lines


def neuron(weights: np.ndarray, bias: float, inputs: np.ndarray) -> float:
    """One cell: the sum of what comes in, weighed, and its rate of firing, which is not negative."""
    return max(0.0, float(sum(w * x for w, x in zip(weights, inputs, strict=True)) + bias))


def initialise(sizes: Sequence[int], seed: int = 0, dtype: Any = np.float32) -> tuple[Linear, ...]:
    """Normal weights of variance 2 / inputs (He et al. 2015), biases 0."""
    rng, sizes = np.random.default_rng(seed), _checked(sizes)
    return tuple(
        Linear(rng.normal(0, (2 / a) ** 0.5, (b, a)).astype(dtype), np.zeros(b, dtype))
        for a, b in itertools.pairwise(sizes)
    )


def scores(layers: Layers, x: jax.Array) -> jax.Array:
    """x: [N, D] -> [N, C]."""
    return _hidden(layers, x)[-1]


def gradients(layers: Layers, x: jax.Array, label: jax.Array, l2: float = 0.0) -> tuple[jax.Array, tuple[Linear, ...]]:
    """(mean softmax loss + l2/2 Σ |W|², its gradient by every weight and bias); x: [N, D], label: [N] int."""
    h = _hidden(layers, x)
    loss, delta = softmax_loss(h[-1], label)
    value = loss.mean() + l2 / 2 * sum(jnp.square(layer.weights).sum() for layer in layers)
    delta, found = delta / len(x), []
    for layer, below in zip(reversed(layers), reversed([x, *h[:-1]]), strict=True):
        found.append(Linear(delta.T @ below + l2 * layer.weights, delta.sum(0)))
        delta = (delta @ layer.weights) * (below > 0)
    return value, tuple(found[::-1])


def collapse(layers: Layers) -> Linear:
    """The one linear layer that equals these without their kinks: W_2 W_1 and W_2 b_1 + b_2, and so on."""
    return functools.reduce(
        lambda below, layer: Linear(layer.weights @ below.weights, layer.weights @ below.bias + layer.bias), layers
    )


def train(
    images: Any,
    labels: Any,
    *,
    hidden: Sequence[int] = (100,),
    l2: float = 1e-4,
    learning_rate: float = 0.05,
    momentum: float = 0.9,
    steps: int = 2000,
    batch_size: int = 128,
    seed: int = 0,
) -> MLPModel:
    """Fit images [N, ...], of numbers of about unit size, and labels [N]; hidden: neurons of the layers between.

    Raises:
      ValueError: see `as_examples`; a size, steps or batch_size is below 1.
    """
    examples = as_examples(images, labels)
    if steps < 1 or batch_size < 1:
        raise ValueError(f"steps={steps} and batch_size={batch_size} must be at least 1")
    sizes = (examples.rows.shape[1], *hidden, len(examples.classes))
    with jax.enable_x64(examples.rows.dtype == np.float64):
        layers, losses = _descend(
            initialise(sizes, seed, examples.rows.dtype), jnp.asarray(examples.rows), jnp.asarray(examples.label), l2,
            learning_rate, momentum, steps, batch_size, seed,
        )  # fmt: skip
        return MLPModel(jax.tree.map(np.asarray, layers), examples.classes, np.asarray(losses))


def predict(model: MLPModel, images: Any) -> np.ndarray:
    """Labels [M] of images [M, ...]."""
    rows = as_rows(images, model.layers[0].weights.shape[1])
    with jax.enable_x64(rows.dtype == np.float64):
        return model.classes[np.asarray(scores(model.layers, jnp.asarray(rows))).argmax(1)]


@functools.partial(jax.jit, static_argnames=("steps", "batch_size", "seed"))
def _descend(layers, x, label, l2, learning_rate, momentum, steps, batch_size, seed):
    def update(carry, step):
        rows = jax.random.randint(jax.random.fold_in(jax.random.key(seed), step), (batch_size,), 0, len(x))
        value, g = gradients(carry[0], x[rows], label[rows], l2)
        return momentum_step(*carry, g, learning_rate, momentum), value

    start = (layers, jax.tree.map(jnp.zeros_like, layers))
    (layers, _), losses = jax.lax.scan(update, start, jnp.arange(steps))
    return layers, losses


def _hidden(layers: Layers, x: jax.Array) -> list[jax.Array]:
    """What every layer gives, the scores last."""
    seen = []
    for i, (weights, bias) in enumerate(layers):
        x = x @ weights.T + bias
        x = x if i == len(layers) - 1 else jnp.maximum(x, 0)
        seen.append(x)
    return seen


def _checked(sizes: Sequence[int]) -> tuple[int, ...]:
    sizes = tuple(sizes)
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes is {sizes}; it must have an input and an output, each at least 1")
    return sizes
