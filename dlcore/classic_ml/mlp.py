"""The fully connected network s = W_2 max(0, W_1 x + b_1) + b_2, of two or more layers, trained with gradients by hand.

Four views of it: matrix products with a ReLU between them (`scores`); a graph in which every neuron is connected to
every one of the next layer (`edges`); equations, one per neuron (`equations`); and, by a loose analogy, cells that sum
their dendrites' inputs and fire above a threshold (`neuron`). Rows of W_1 are templates, and W_2 mixes them, so a class
can have several. Without the ReLU the layers collapse to one matrix, W_2 W_1 (`collapse`).

    δ_L = p - onehot(y),    δ_(l-1) = (δ_l W_l) · [h_(l-1) > 0],    ∂L/∂W_l = δ_lᵀ h_(l-1),    ∂L/∂b_l = Σ δ_l
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number, is_whole_number
from dlcore.classic_ml.examples import as_examples, as_rows
from dlcore.classic_ml.linear import Linear, softmax_loss
from dlcore.classic_ml.linear_training import momentum_step
from dlcore.learner import root_key
from dlcore.ops.checks import check_finite, check_shapes

__all__ = [
    "Counts",
    "MLPModel",
    "collapse",
    "count",
    "edges",
    "equations",
    "gradients",
    "initialize",
    "neuron",
    "predict",
    "scores",
    "train",
]

Layers = Sequence[Linear]


class MLPModel(NamedTuple):
    """A trained fully connected network, as numpy arrays.

    Args:
      layers: weights [out, in] and bias [out] of each.
      classes: [C], labels.
      losses: [steps], of the minibatches.
    """

    layers: tuple[Linear, ...]
    classes: np.ndarray
    losses: np.ndarray


class Counts(NamedTuple):
    """Size of a fully connected network.

    Args:
      neurons: without the inputs, which compute nothing.
      weights: entries of all matrices.
      biases: one per neuron.
      parameters: weights + biases.
    """

    neurons: int
    weights: int
    biases: int
    parameters: int


def count(sizes: Sequence[int]) -> Counts:
    """Count neurons and parameters: sizes 3, 4, 4, 1 have 4 + 4 + 1 neurons and 12 + 16 + 4 weights.

    Args:
      sizes: units of each layer, the input first.

    Returns:
      Counts.
    """
    sizes = _checked(sizes)
    neurons, weights = sum(sizes[1:]), sum(a * b for a, b in itertools.pairwise(sizes))
    return Counts(neurons, weights, neurons, weights + neurons)


def edges(sizes: Sequence[int]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """List the edges of the network's graph, one per weight.

    Args:
      sizes: units of each layer, the input first.

    Returns:
      ((layer, neuron), (layer + 1, neuron)) of every weight; layer 0 is the input.
    """
    sizes = _checked(sizes)
    return [
        ((layer, i), (layer + 1, j))
        for layer, (a, b) in enumerate(itertools.pairwise(sizes))
        for j in range(b)
        for i in range(a)
    ]


def equations(sizes: Sequence[int]) -> list[str]:
    """Write one equation per neuron: h1_0 = max(0, w1_00 x_0 + w1_01 x_1 + b1_0), the last layer s_0 = ... without max.

    Args:
      sizes: units of each layer, the input first.

    Returns:
      One line per neuron.
    """
    sizes, lines = _checked(sizes), []
    for layer, (a, b) in enumerate(itertools.pairwise(sizes), 1):
        below = "x" if layer == 1 else f"h{layer - 1}"
        for j in range(b):
            total = " + ".join([f"w{layer}_{j}{i} {below}_{i}" for i in range(a)] + [f"b{layer}_{j}"])
            last = layer == len(sizes) - 1
            lines.append(f"s_{j} = {total}" if last else f"h{layer}_{j} = max(0, {total})")
    return lines


def neuron(weights: np.ndarray, bias: float, inputs: np.ndarray) -> float:
    """Compute one cell's firing rate: the weighted sum of its inputs plus a bias, or 0 if that is negative.

    Args:
      weights: [D].
      bias: minus the threshold.
      inputs: [D].

    Returns:
      The firing rate.
    """
    check_shapes(weights=(weights, "D finite"), inputs=(inputs, "D finite"), bias=(bias, "finite"))
    return max(0.0, float(np.dot(np.asarray(weights, np.float64), np.asarray(inputs, np.float64)) + bias))


def initialize(sizes: Sequence[int], seed: int = 0, dtype: Any = np.float32) -> tuple[Linear, ...]:
    """Draw normal weights of variance 2 / fan-in (He et al. 2015), with biases 0.

    Args:
      sizes: units of each layer, the input first.
      seed: random seed of the weights.
      dtype: dtype of weights and biases.

    Returns:
      One Linear per layer.
    """
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"dtype={np.dtype(dtype)}: no floats; allowed: such as float32")
    check_whole_number("seed", seed, 0)
    rng, sizes = np.random.default_rng(seed), _checked(sizes)
    return tuple(
        Linear(rng.normal(0, (2 / a) ** 0.5, (b, a)).astype(dtype), np.zeros(b, dtype))
        for a, b in itertools.pairwise(sizes)
    )


def scores(layers: Layers, x: jax.Array) -> jax.Array:
    """Run the network forward.

    Args:
      layers: weights and bias of each.
      x: [N, D].

    Returns:
      [N, C], class scores.

    Raises:
      ValueError: there is no layer, or the shapes do not fit together.
    """
    return _hidden(layers, x)[-1]


def gradients(layers: Layers, x: jax.Array, label: jax.Array, l2: float = 0.0) -> tuple[jax.Array, tuple[Linear, ...]]:
    """Mean softmax loss + l2/2 Σ |W|², with its gradient by back-propagation.

    Args:
      layers: weights and bias of each.
      x: [N, D].
      label: [N] int, classes in [0, C).
      l2: weight of the penalty.

    Returns:
      (value, gradient by weights and bias of every layer).
    """
    check_shapes(l2=(l2, ">= 0"))
    h = _hidden(layers, x)
    # Forward pass, and the gradient of the scores.
    loss, delta = softmax_loss(h[-1], label)  # [N], [N, C]
    value = loss.mean() + l2 / 2 * sum(jnp.square(layer.weights).sum() for layer in layers)
    delta, layer_gradients = delta / len(x), []
    for layer, below in zip(reversed(layers), reversed([x, *h[:-1]]), strict=True):
        layer_gradients.append(Linear(delta.T @ below + l2 * layer.weights, delta.sum(0)))
        # Back through the layer, then through the ReLU below.
        delta = (delta @ layer.weights) * (below > 0)
    return value, tuple(layer_gradients[::-1])


def collapse(layers: Layers) -> Linear:
    """Compose layers without their ReLUs into one linear layer: W_2 W_1 and W_2 b_1 + b_2, and so on.

    Args:
      layers: weights and bias of each.

    Returns:
      The one equivalent linear layer.
    """
    _check_layers(layers)
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
    """Fit a fully connected network by minibatch gradient descent with momentum.

    Args:
      images: [N, ...], values of about unit size.
      labels: [N] integers.
      hidden: units of each hidden layer.
      l2: weight of the penalty l2/2 Σ |W|².
      learning_rate: learning rate of the steps.
      momentum: ρ of the steps.
      steps: number of updates.
      batch_size: examples per step, drawn with replacement.
      seed: random seed of the weights and the minibatches.

    Returns:
      MLPModel.
    """
    examples = as_examples(images, labels)
    if np.ndim(hidden) != 1:
        raise ValueError(f"hidden={hidden}: no list; allowed: a size for each hidden layer")
    check_whole_number("steps", steps, 1)
    check_whole_number("batch_size", batch_size, 1)
    check_shapes(learning_rate=(learning_rate, ">= 0"), momentum=(momentum, "0 to <1"), l2=(l2, ">= 0"))
    for name, value in (("learning_rate", learning_rate), ("momentum", momentum), ("l2", l2)):
        check_finite(name, value)
    sizes = (examples.rows.shape[1], *hidden, len(examples.classes))
    with jax.enable_x64(examples.rows.dtype == np.float64):
        layers, losses = _descend(
            initialize(sizes, seed, examples.rows.dtype),
            jnp.asarray(examples.rows),
            jnp.asarray(examples.label),
            l2,
            learning_rate,
            momentum,
            steps,
            batch_size,
            seed,
        )
        check_finite(f"weights at learning_rate={learning_rate}", layers[0].weights)
        return MLPModel(jax.tree.map(np.asarray, layers), examples.classes, np.asarray(losses))


def predict(model: MLPModel, images: Any) -> np.ndarray:
    """Predict the class with the largest score.

    Args:
      model: model from `train`.
      images: [M, ...].

    Returns:
      [M], labels.
    """
    rows = as_rows(images, model.layers[0].weights.shape[1])
    with jax.enable_x64(rows.dtype == np.float64):
        return model.classes[np.asarray(scores(model.layers, jnp.asarray(rows))).argmax(1)]


@functools.partial(jax.jit, static_argnames=("steps", "batch_size", "seed"))
def _descend(layers, x, label, l2, learning_rate, momentum, steps, batch_size, seed):
    def update(carry, step):
        rows = jax.random.randint(jax.random.fold_in(root_key(seed), step), (batch_size,), 0, len(x))
        # One minibatch, drawn with replacement.
        value, g = gradients(carry[0], x[rows], label[rows], l2)
        return momentum_step(*carry, g, learning_rate, momentum), value

    start = (layers, jax.tree.map(jnp.zeros_like, layers))
    (layers, _), losses = jax.lax.scan(update, start, jnp.arange(steps))
    return layers, losses


def _hidden(layers: Layers, x: jax.Array) -> list[jax.Array]:
    """Compute the output of every layer; the scores come last."""
    _check_layers(layers)
    check_shapes(**{"layers[0].weights": (layers[0].weights, "H D"), "x": (x, "N D")})
    outputs = []
    for i, (weights, bias) in enumerate(layers):
        x = x @ weights.T + bias
        x = x if i == len(layers) - 1 else jnp.maximum(x, 0)
        outputs.append(x)
    return outputs


def _check_layers(layers: Layers) -> None:
    if not layers:
        raise ValueError("layers=[]: none; allowed: at least one")
    shapes = {}
    for i, (weights, bias) in enumerate(layers):
        shapes |= {
            f"layers[{i}].weights": (weights, f"width{i + 1} width{i}"),
            f"layers[{i}].bias": (bias, f"width{i + 1}"),
        }
    check_shapes(**shapes)


def _checked(sizes: Sequence[int]) -> tuple[int, ...]:
    sizes = (sizes,) if np.ndim(sizes) == 0 else tuple(sizes)
    if len(sizes) < 2 or not all(map(is_whole_number, sizes)) or min(sizes) < 1:
        raise ValueError(f"sizes={sizes}: no network; allowed: an input and an output size or more, each at least 1")
    return sizes
