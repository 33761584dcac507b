"""A reverse-mode engine small enough to read in one sitting: a graph of gates, run forwards and then backwards.

Rumelhart, Hinton & Williams, "Learning representations by back-propagating errors" (1986).

A `Value` is an array, the gate that made it and the values that went in. Sorted so that every value stands after those
it is made from, the graph is run

    forwards, in that order:    y = gate(x1, x2, ...)                            every value stays cached
    backwards, in reverse:      ∂L/∂xi += (∂y/∂xi)ᵀ ∂L/∂y                        the chain rule at one gate

A gate knows its local gradient alone. `+=` is the rule where a value goes into several gates: their gradients add. What
the gates do to a gradient: add hands it on to each input, multiply scales it by the other input, max routes it to the
larger one, and a value that is copied sums what comes back.

Arrays are float64 and broadcast as numpy's; a gradient always has the shape of its value.

    >>> x, y = Value(2.0, name="x"), Value(3.0, name="y")
    >>> f = x * y + x
    >>> backward(f)
    >>> float(x.grad), float(y.grad)                       # y + 1 and x
    (4.0, 2.0)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Gate", "Value", "apply", "backward", "forward", "topological", "zero_grad"]


class Gate(NamedTuple):
    """forward: (*inputs) -> output. backward: (gradient, output, *inputs) -> one gradient an input."""

    name: str
    forward: Callable
    backward: Callable


class Value:
    """A node: `data` (its array), `grad` (∂L/∂data, summed over the backward passes since `zero_grad`)."""

    __array_ufunc__ = None

    def __init__(self, data: Any, name: str = "", gate: Gate | None = None, parents: tuple["Value", ...] = ()):
        self.data = np.asarray(data, np.float64)
        self.grad = np.zeros_like(self.data)
        self.name, self.gate, self.parents = name, gate, parents

    def __repr__(self) -> str:
        return f"Value({self.name or (self.gate.name if self.gate else 'leaf')}, {self.data.tolist()})"

    def forward(self) -> None:
        """Compute `data` again from the parents'; a leaf keeps its own."""
        if self.gate:
            self.data = np.asarray(self.gate.forward(*(p.data for p in self.parents)), np.float64)

    def parent_gradients(self) -> list[np.ndarray]:
        """What this value's `grad` means for each parent, of the parent's shape: the gradient on that edge."""
        if not self.gate:
            return []
        gradients = self.gate.backward(self.grad, self.data, *(p.data for p in self.parents))
        return [_unbroadcast(g, p.data.shape) for g, p in zip(gradients, self.parents, strict=True)]

    def backward(self) -> None:
        """Add its edge's gradient to each parent's `grad`."""
        for parent, gradient in zip(self.parents, self.parent_gradients(), strict=True):
            parent.grad = parent.grad + gradient

    def detach(self) -> "Value":
        """The same array as a leaf: no gradient passes (stop_gradient, no_grad)."""
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
        gate = Gate(f"**{power:g}", lambda x: x**power, lambda g, y, x: (g * power * x ** (power - 1),))
        return apply(gate, self)

    def exp(self):
        """e^x."""
        return apply(EXP, self)

    def log(self):
        """The natural logarithm."""
        return apply(LOG, self)

    def tanh(self):
        """The hyperbolic tangent."""
        return apply(TANH, self)

    def relu(self):
        """max(x, 0)."""
        return apply(RELU, self)

    def sigmoid(self):
        """1 / (1 + e^-x) as one gate."""
        return apply(SIGMOID, self)

    def maximum(self, other):
        """The larger of the two, element by element; the gradient of a tie goes to the first."""
        return apply(MAXIMUM, self, other)

    def sum(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False):
        """The sum over axes."""

        def spread(g, y, x):
            kept = g if keepdims or axis is None else np.expand_dims(g, axis)
            return (np.broadcast_to(kept, x.shape),)

        return apply(Gate("sum", lambda x: x.sum(axis=axis, keepdims=keepdims), spread), self)

    def mean(self):
        """The mean of all elements."""
        return self.sum() * (1 / self.data.size)

    def reshape(self, *shape: int):
        """The same elements in another shape."""
        return apply(Gate("reshape", lambda x: x.reshape(shape), lambda g, y, x: (g.reshape(x.shape),)), self)

    @property
    def T(self):  # noqa: N802
        """A matrix with its axes swapped."""
        return apply(TRANSPOSE, self)


def apply(gate: Gate, *inputs: Any) -> Value:
    """The value that a gate makes of its inputs; numbers and arrays become leaves."""
    parents = tuple(x if isinstance(x, Value) else Value(x) for x in inputs)
    made = Value(0.0, gate=gate, parents=parents)
    made.forward()
    made.grad = np.zeros_like(made.data)
    return made


def _sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


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
MATMUL = Gate("@", np.matmul, _matmul_backward)
TRANSPOSE = Gate("T", np.transpose, lambda g, y, x: (g.T,))


def topological(root: Value) -> list[Value]:
    """All values that the root is made from, each after its parents; the root comes last."""
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        value, expanded = stack.pop()
        if expanded:
            order.append(value)
        elif id(value) not in seen:
            seen.add(id(value))
            stack.append((value, True))
            stack.extend((parent, False) for parent in reversed(value.parents))
    return order


def forward(root: Value) -> np.ndarray:
    """Run the graph again from its leaves' `data`, and return the root's."""
    for value in topological(root):
        value.forward()
    return root.data


def backward(root: Value, upstream: Any = None) -> None:
    """Add ∂root/∂v to the `grad` of every leaf v, and leave in the other values theirs of this pass.

    upstream: what the root's gradient is, of the root's shape; 1 where the root is a number.

    Raises:
      ValueError: the root is not a number and no upstream gradient is given, or its shape is not the root's.
    """
    if upstream is None and root.data.size != 1:
        raise ValueError(f"the root has shape {root.data.shape}: give an upstream gradient of that shape")
    gradient = np.ones_like(root.data) if upstream is None else np.asarray(upstream, np.float64)
    if gradient.shape != root.data.shape:
        raise ValueError(f"upstream has shape {gradient.shape}, the root {root.data.shape}")
    order = topological(root)
    for value in order:
        if value.gate:
            value.grad = np.zeros_like(value.data)
    root.grad = root.grad + gradient
    for value in reversed(order):
        value.backward()


def zero_grad(root: Value) -> None:
    """Forget the gradients of the root and all it is made from: without this, two passes add up."""
    for value in topological(root):
        value.grad = np.zeros_like(value.data)


def _unbroadcast(gradient: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum over the axes along which a value was copied to fit."""
    gradient = gradient.sum(tuple(range(gradient.ndim - len(shape))))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and gradient.shape[i] != 1)
    return gradient.sum(stretched, keepdims=True)
