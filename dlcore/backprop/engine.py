"""A reverse-mode engine small enough to read in one sitting: a graph of gates, run forward and then backward.

Rumelhart, Hinton & Williams, "Learning representations by back-propagating errors" (1986).

A `Value` is an array, the gate that computed it and the gate's inputs. In topological order (every value after its
inputs) the graph runs

    forward, in that order:     y = gate(x1, x2, ...)                            every value stays cached
    backward, in reverse:       ∂L/∂xi += (∂y/∂xi)ᵀ ∂L/∂y                        the chain rule at one gate

A gate knows only its local gradient. `+=` is the rule where a value feeds several gates: their gradients add. What
the gates do to a gradient: add passes it to each input, multiply scales it by the other input, max routes it to the
larger one, and a value that is copied sums what comes back.

Arrays are float64 and broadcast as in numpy; a gradient always has the shape of its value.

    >>> x, y = Value(2.0, name="x"), Value(3.0, name="y")
    >>> f = x * y + x
    >>> backward(f)
    >>> float(x.grad), float(y.grad)                       # y + 1 and x
    (4.0, 2.0)
"""

from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from dlcore.ops.checks import check_shapes

__all__ = ["Gate", "Value", "apply", "backward", "forward", "topological", "zero_grad"]


class Gate(NamedTuple):
    """A differentiable operation: its forward function and its backward function.

    Args:
      name: symbol in drawings, such as "+".
      forward: (*inputs) -> output.
      backward: (gradient, output, *inputs) -> one gradient per input.
    """

    name: str
    forward: Callable
    backward: Callable


class Value:
    """A node of the graph: `data`, and `grad` (∂L/∂data, summed over the backward passes since `zero_grad`).

    Args:
      data: number or array, stored as float64.
      name: shown in drawings; "" for an unnamed value.
      gate: the operation that computed `data`; None for a leaf.
      parents: inputs of the gate, empty for a leaf.

    Raises:
      ValueError: `data` is no number and no array of numbers.
    """

    __array_ufunc__ = None

    def __init__(self, data: Any, name: str = "", gate: Gate | None = None, parents: tuple["Value", ...] = ()):
        try:
            if data is None or isinstance(data, str):  # NumPy takes None for NaN, and reads words
                raise TypeError("no number")
            self.data = np.asarray(data, np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"data={data!r:.60}: no numbers; allowed: a number, or an array of numbers") from error
        self.grad = np.zeros_like(self.data)
        self.name, self.gate, self.parents = name, gate, parents

    def __repr__(self) -> str:
        return f"Value({self.name or (self.gate.name if self.gate else 'leaf')}, {self.data.tolist()})"

    def forward(self) -> None:
        """Recompute `data` from the parents; a leaf keeps its own."""
        if self.gate:
            self.data = np.asarray(self.gate.forward(*(p.data for p in self.parents)), np.float64)

    def parent_gradients(self) -> list[np.ndarray]:
        """Compute the gradient on the edge to each parent from this value's `grad`.

        Returns:
          One gradient per parent, of the parent's shape; empty for a leaf.
        """
        if not self.gate:
            return []
        # Chain rule: the gate's local gradients times this value's.
        gradients = self.gate.backward(self.grad, self.data, *(p.data for p in self.parents))
        return [_unbroadcast(g, p.data.shape) for g, p in zip(gradients, self.parents, strict=True)]

    def backward(self) -> None:
        """Add its edge's gradient to each parent's `grad`."""
        for parent, gradient in zip(self.parents, self.parent_gradients(), strict=True):
            parent.grad = parent.grad + gradient

    def detach(self) -> "Value":
        """Cut the graph here: no gradient passes (stop_gradient in JAX, detach in torch).

        Returns:
          A leaf with the same array.
        """
        return Value(self.data)

    def __add__(self, other):
        return apply(ADD, self, other)

    def __sub__(self, other):
        return apply(SUBTRACT, self, other)

    def __mul__(self, other):
        return apply(MULTIPLY, self, other)

    def __truediv__(self, other):
        return apply(DIVIDE, self, other)

    def __matmul__(self, other):
        return apply(MATMUL, self, other)

    def __radd__(self, other):
        return apply(ADD, other, self)

    def __rsub__(self, other):
        return apply(SUBTRACT, other, self)

    def __rmul__(self, other):
        return apply(MULTIPLY, other, self)

    def __rtruediv__(self, other):
        return apply(DIVIDE, other, self)

    def __rmatmul__(self, other):
        return apply(MATMUL, other, self)

    def __neg__(self):
        return apply(NEGATE, self)

    def __pow__(self, power: float):
        if not isinstance(power, Real) or not np.isfinite(power):
            raise ValueError(f"power={power!r}: no number; allowed: finite numbers")
        gate = Gate(f"**{power:g}", lambda x: x**power, lambda g, y, x: (g * power * x ** (power - 1),))
        return apply(gate, self)

    def exp(self):
        """Exponential.

        Returns:
          e^x of each element.
        """
        return apply(EXP, self)

    def log(self):
        """Natural logarithm.

        Returns:
          log x of each element.
        """
        return apply(LOG, self)

    def tanh(self):
        """Hyperbolic tangent.

        Returns:
          tanh x of each element.
        """
        return apply(TANH, self)

    def relu(self):
        """Rectified linear unit.

        Returns:
          max(x, 0) of each element.
        """
        return apply(RELU, self)

    def sigmoid(self):
        """Logistic sigmoid as one gate.

        Returns:
          1 / (1 + e^-x) of each element.
        """
        return apply(SIGMOID, self)

    def maximum(self, other):
        """Elementwise maximum; the gradient of a tie goes to this value.

        Args:
          other: value, number or array to compare with.

        Returns:
          The larger of the two, element by element.
        """
        return apply(MAXIMUM, self, other)

    def sum(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False):
        """Sum over axes.

        Args:
          axis: axis or axes to sum over; None sums all of them.
          keepdims: keep the summed axes with length 1.

        Returns:
          The sums.
        """

        def spread(g, y, x):
            expanded = g if keepdims or axis is None else np.expand_dims(g, axis)
            return (np.broadcast_to(expanded, x.shape),)

        return apply(Gate("sum", lambda x: x.sum(axis=axis, keepdims=keepdims), spread), self)

    def mean(self):
        """Mean of all elements.

        Returns:
          A scalar value.
        """
        return self.sum() * (1 / self.data.size)

    def reshape(self, *shape: int):
        """Give the same elements another shape.

        Args:
          *shape: new length of each axis.

        Returns:
          The reshaped value.
        """
        return apply(Gate("reshape", lambda x: x.reshape(shape), lambda g, y, x: (g.reshape(x.shape),)), self)

    @property
    def T(self):  # noqa: N802
        """A matrix with its axes swapped."""
        return apply(TRANSPOSE, self)


def apply(gate: Gate, *inputs: Any) -> Value:
    """Apply a gate to its inputs and record the result in the graph.

    Args:
      gate: the operation.
      *inputs: values; numbers and arrays become leaves.

    Returns:
      The gate's output.
    """
    parents = tuple(x if isinstance(x, Value) else Value(x) for x in inputs)
    output = Value(0.0, gate=gate, parents=parents)
    try:
        output.forward()
    except ValueError as error:
        shapes = ", ".join(str(parent.data.shape) for parent in parents)
        raise ValueError(f"inputs of shapes {shapes}: do not fit {gate.name} ({error}); allowed: what does") from error
    output.grad = np.zeros_like(output.data)
    return output


def _sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def _matmul(x, w):
    check_shapes(x=(x, "N D"), w=(w, "D M"))
    return x @ w


def _matmul_backward(g, y, x, w):
    """Y = X W: dX = dY Wᵀ and dW = Xᵀ dY (for Y = W X it is dX = Wᵀ dY and dW = dY Xᵀ)."""
    return g @ w.T, x.T @ g


ADD = Gate("+", np.add, lambda g, y, a, b: (g, g))
SUBTRACT = Gate("-", np.subtract, lambda g, y, a, b: (g, -g))
MULTIPLY = Gate("*", np.multiply, lambda g, y, a, b: (g * b, g * a))
DIVIDE = Gate("/", np.divide, lambda g, y, a, b: (g / b, -g * a / b**2))
NEGATE = Gate("*-1", np.negative, lambda g, y, x: (-g,))
EXP = Gate("exp", np.exp, lambda g, y, x: (g * y,))
LOG = Gate("log", np.log, lambda g, y, x: (g / x,))
TANH = Gate("tanh", np.tanh, lambda g, y, x: (g * (1 - y**2),))
RELU = Gate("relu", lambda x: np.maximum(x, 0), lambda g, y, x: (g * (x > 0),))
SIGMOID = Gate("σ", _sigmoid, lambda g, y, x: (g * (1 - y) * y,))
MAXIMUM = Gate("max", np.maximum, lambda g, y, a, b: (g * (a >= b), g * (a < b)))
MATMUL = Gate("@", _matmul, _matmul_backward)
TRANSPOSE = Gate("T", np.transpose, lambda g, y, x: (g.T,))


def topological(root: Value) -> list[Value]:
    """Sort the graph below a root topologically.

    Args:
      root: output of the graph.

    Returns:
      Every value that the root depends on, each after its parents; the root comes last.
    """
    if not isinstance(root, Value):
        raise ValueError(f"root={root!r:.60}: no value of a graph; allowed: Value")
    # Depth first, without recursion: graphs may be deeper than Python's stack.
    order, visited_nodes, stack = [], set(), [(root, False)]
    while stack:
        value, expanded = stack.pop()
        if expanded:
            order.append(value)
        elif id(value) not in visited_nodes:
            visited_nodes.add(id(value))
            stack.append((value, True))
            stack.extend((parent, False) for parent in reversed(value.parents))
    return order


def forward(root: Value) -> np.ndarray:
    """Recompute every value of the graph from the leaves' `data`.

    Args:
      root: output of the graph.

    Returns:
      The root's new `data`.
    """
    for value in topological(root):
        value.forward()
    return root.data


def backward(root: Value, upstream: Any = None) -> None:
    """Add ∂root/∂v to the `grad` of every leaf v; other values hold the gradient of this pass alone.

    Args:
      root: output of the graph.
      upstream: gradient of the loss with respect to the root, of the root's shape; None means 1, for a scalar root.
    """
    order = topological(root)
    if upstream is None and root.data.size != 1:
        raise ValueError(f"upstream=None: the root is not a scalar; allowed: an array of shape {root.data.shape}")
    gradient = np.ones_like(root.data) if upstream is None else np.asarray(upstream, np.float64)
    if gradient.shape != root.data.shape:
        raise ValueError(f"upstream.shape={gradient.shape}: does not fit the root; allowed: {root.data.shape}")
    for value in order:
        if value.gate:
            value.grad = np.zeros_like(value.data)
    # From the root to the leaves, each value after all that use it.
    root.grad = root.grad + gradient
    for value in reversed(order):
        value.backward()


def zero_grad(root: Value) -> None:
    """Reset the gradients of the root and of all it depends on to 0; without this, two backward passes add up.

    Args:
      root: output of the graph.
    """
    for value in topological(root):
        value.grad = np.zeros_like(value.data)


def _unbroadcast(gradient: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum over the axes along which a value was copied to fit."""
    gradient = gradient.sum(tuple(range(gradient.ndim - len(shape))))
    # Axes that broadcasting copied: their gradients add up.
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and gradient.shape[i] != 1)
    return gradient.sum(stretched, keepdims=True)
