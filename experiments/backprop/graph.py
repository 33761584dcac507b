"""Draw a computational graph with the value and the gradient on every edge, and check its gradients.

python -m experiments.backprop.graph
python -m experiments.backprop.graph --circuit=gates

The circuits: a neuron, 1 / (1 + e^-(w0 x0 + w1 x1 + w2)), in single gates and with the sigmoid as one gate; a graph of
the four gates whose rules one should know by heart (add, multiply, max, copy); a layer of arrays with its loss. The
gradients are compared with slopes measured in float64.

Reference: CS231n, "Backpropagation, intuitions".
"""

from typing import Literal

import numpy as np

from dlcore.backprop import Value, backward, draw, forward, numerical_gradient, relative_error, topological, verdict
from dlcore.experiment import Headline, Study, StudyResult
from dlcore.main import main


def neuron(grouped: bool) -> Value:
    """w = (2, -3, -3), x = (-1, -2): the sum is 1 and the output 0.73."""
    w = [Value(v, name=f"w{i}") for i, v in enumerate((2.0, -3.0, -3.0))]
    x = [Value(v, name=f"x{i}") for i, v in enumerate((-1.0, -2.0))]
    z = w[0] * x[0] + w[1] * x[1] + w[2]
    return z.sigmoid() if grouped else 1 / ((z * -1).exp() + 1)


def gates() -> Value:
    """2 (x y + max(z, w)) with z copied: x = 3, y = -4, z = 2, w = -1."""
    x, y, z, w = (Value(v, name=n) for n, v in zip("xyzw", (3.0, -4.0, 2.0, -1.0), strict=True))
    return (x * y + z.maximum(w)) * 2 + z


def layer() -> Value:
    """The mean square of relu(X W + b)."""
    rng = np.random.default_rng(0)
    x, w, b = (Value(rng.normal(size=s), name=n) for n, s in (("X", (4, 3)), ("W", (3, 2)), ("b", (2,))))
    return (((x @ w + b).relu()) ** 2).mean()


CIRCUITS = {"neuron": lambda: neuron(False), "grouped": lambda: neuron(True), "gates": gates, "layer": layer}


def check(root: Value) -> dict[str, float]:
    """Relative error of every named leaf's gradient, against centered slopes."""
    errors = {}
    for leaf in (v for v in topological(root) if v.name):
        original = leaf.data

        def value(data, leaf=leaf):
            leaf.data = data
            return forward(root)

        errors[leaf.name] = relative_error(leaf.grad, numerical_gradient(value, original))
        leaf.data = original
        forward(root)
    return errors


def study(*, circuit: Literal["all", "neuron", "grouped", "gates", "layer"] = "all") -> StudyResult:
    """Draw circuits and check their gradients.

    Args:
      circuit: name of one circuit, or all.
    """
    numbers, figures, worst = {}, {}, 0.0
    for name in CIRCUITS if circuit == "all" else [circuit]:
        root = CIRCUITS[name]()
        backward(root)
        figures[name] = draw(root)
        numbers[f"{name}: output"] = float(root.data)
        for leaf in (v for v in topological(root) if v.name):
            numbers[f"{name}: gradient of {leaf.name}"] = leaf.grad.tolist()
        worst = max(worst, *check(root).values())
    numbers["largest relative error"] = worst
    summary = f"The largest relative error of any gradient is {worst:.1e}: {verdict(worst)}."
    headline = Headline("largest relative error of a gradient", worst, "circuits", tolerance=100.0)
    return StudyResult(numbers, summary, figures, verdict(worst) == "happy", headline)


experiment = Study(__file__, __doc__, study)

if __name__ == "__main__":
    main(experiment)
