"""Monitor of a network in training: update ratios, gradients, activations, and their problems.

    ratio = |w' - w| / |w|      of each parameter array over one update; about 1e-3 at a good learning rate
    dead unit: a channel whose activation is 0 for every example and position of the batch
    saturated: |tanh| > 0.97, or a sigmoid within 0.015 of 0 or 1 (there the slope is below 0.06 of its largest)

The monitor traces a learner's functions, so it works for every technique and model. The ratio and its rule of thumb are
from Karpathy's lecture notes on watching a network train (CS231n, 2016).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.diagnostics.finding import Finding
from dlcore.diagnostics.trace import Operation, run_traced
from dlcore.learner import Batch, Learner

__all__ = ["RATIO", "activations", "findings", "snapshot", "update_ratios"]

RECTIFIERS = ("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "softplus", "hard_swish", "mish")
SATURATING = {"tanh": 0.97, "sigmoid": 0.985}
BINS = 32
RATIO = (1e-4, 1e-2)
"""Lowest and highest ratio of update to weight for which there is no finding."""
SPREAD = 1e3
"""Gradients or activations vanish or explode if first and last layer differ by a larger factor."""


def _by_path(tree: Any) -> dict[str, jax.Array]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def update_ratios(before: Any, after: Any) -> dict[str, jax.Array]:
    """Compute the norm of an update over the norm of the parameters, by array.

    Args:
      before: parameters, any pytree.
      after: the parameters after an update, a tree like `before`.

    Returns:
      {path: |after - before| / |before|, [] float32}; the norm of an array of zeros counts as 1.
    """

    def ratio(old: jax.Array, new: jax.Array) -> jax.Array:
        old, new = (jnp.asarray(x, jnp.float32) for x in (old, new))
        size = jnp.linalg.norm(old.ravel())
        return jnp.linalg.norm((new - old).ravel()) / jnp.where(size > 0, size, 1)

    return _by_path(jax.tree.map(ratio, before, after))


def activations(function: Callable, *args: Any) -> dict[str, dict[str, Any]]:
    """Compute statistics of every activation of a function, in the order of computation.

    Names combine flax modules and the activation, "stage1_block0/relu"; a second one in the same module is "relu_2".
    Under jit only these statistics are stored. Loops are not traced (see `dlcore.diagnostics.trace`).

    Args:
      function: function that JAX can trace, such as `model.apply`.
      *args: its arguments.

    Returns:
      {name: numbers}: mean and std ([]), dead (fraction of units, the last axis), saturated (fraction of values; tanh
        and sigmoid only), counts [32] and edges [33] of a histogram, and finite (bool).
    """
    statistics: dict[str, dict[str, Any]] = {}

    def visit(operation: Operation) -> None:
        kind = _activation(operation)
        value = operation.outputs[0] if kind else None
        if kind is None or value.ndim < 2:
            return
        module = [part for part in operation.module.split("/") if part and "." not in part and "(" not in part]
        base = "/".join([*module[1:], kind])
        number = sum(name == base or name.startswith(f"{base}_") for name in statistics)
        statistics[base if number == 0 else f"{base}_{number + 1}"] = _statistics(value, kind)

    run_traced(function, *args, visit=visit)
    return statistics


def _activation(operation: Operation) -> str | None:
    """Return the name of the activation that ends with this operation."""
    if any(name in RECTIFIERS for name in operation.inside):
        return None
    if operation.name in RECTIFIERS:
        return operation.name
    zero = [np.ndim(x) == 0 and not isinstance(x, jax.core.Tracer) and x == 0 for x in operation.inputs]
    if operation.name == "max" and any(zero) and not operation.inside:  # not inside library functions such as resize
        return "relu"
    return {"tanh": "tanh", "logistic": "sigmoid"}.get(operation.name)


def _statistics(value: jax.Array, kind: str) -> dict[str, Any]:
    value = value.astype(jnp.float32)
    silent = jnp.all(jnp.abs(value) <= 1e-8, axis=tuple(range(value.ndim - 1)))
    numbers = {
        "mean": value.mean(),
        "std": value.std(),
        "dead": silent.mean(),
        "finite": jnp.isfinite(value).all(),
        **_histogram(value),
    }
    if kind in SATURATING:
        distance = jnp.abs(value if kind == "tanh" else 2 * value - 1)
        bound = SATURATING[kind] if kind == "tanh" else 2 * SATURATING[kind] - 1
        numbers["saturated"] = (distance > bound).mean()
    return numbers


def _histogram(value: jax.Array) -> dict[str, jax.Array]:
    low, high = value.min(), value.max()
    edges = jnp.linspace(low, jnp.where(high > low, high, low + 1), BINS + 1)
    return {"counts": jnp.histogram(value, edges)[0], "edges": edges}


def snapshot(learner: Learner, state: Any, batch: Batch) -> dict[str, Any]:
    """Measure one training step: updates, gradients and activations. Meant for jit.

    Args:
      learner: the learner; its `update`, `loss` and `predict` run.
      state: the learner's state; it is not changed.
      batch: a training batch.

    Returns:
      {"updates", "gradients", "activations"}, each {name: numbers}. updates: `update_ratios` of this batch's
        update. gradients: norm, finite, and counts [32] and edges [33] of a histogram, by array ({} if the
        learner has no loss). activations: `activations` of the learner's `predict`.
    """
    after, _ = learner.update(state, batch)
    measures = {"updates": update_ratios(state.params, after.params), "gradients": {}, "activations": {}}
    if learner.loss is not None:
        gradients = _by_path(jax.grad(lambda params: learner.loss(params, state, batch)[0])(state.params))
        flat = {name: g.astype(jnp.float32).ravel() for name, g in gradients.items()}
        measures["gradients"] = {
            name: {"norm": jnp.linalg.norm(g), "finite": jnp.isfinite(g).all(), **_histogram(g)}
            for name, g in flat.items()
        }
    measures["activations"] = activations(learner.predict, state, batch)
    return measures


def _spread(what: str, sizes: list[tuple[str, float]]) -> list[Finding]:
    """Report sizes, (layer, size) in the order of the signal or gradient flow, that differ too much."""
    if len(sizes) < 2 or not np.isfinite([size for _, size in sizes]).all() or not sizes[0][1] > 0:
        return []
    ratio = sizes[-1][1] / sizes[0][1]
    message = f"the {what} at {sizes[-1][0]} is {ratio:.1e} of that at {sizes[0][0]}"
    if ratio < 1 / SPREAD:
        return [
            Finding("vanishing", f"{message}: larger initial weights, another activation, normalization, shortcuts")
        ]
    return (
        [Finding("exploding", f"{message}: smaller initial weights, normalization, clipping")] if ratio > SPREAD else []
    )


def findings(snapshot: Mapping[str, Any], kernel_order: Sequence[str] | None = None) -> list[Finding]:
    """List the problems of a snapshot.

    Args:
      snapshot: result of `snapshot`, on the host.
      kernel_order: names of the kernels from input to output, to find vanishing or exploding gradients; None checks the
        activations only.

    Returns:
      Findings of kind "not finite", "vanishing", "exploding", "dead", "saturated" or "updates", the worst first.
    """
    problems = []
    for part in ("gradients", "activations"):
        bad = [name for name, numbers in snapshot[part].items() if not numbers["finite"]]
        if bad:
            problems.append(Finding("not finite", f"{part} that are not finite: {', '.join(bad[:5])}"))
    gradients = [
        (name, snapshot["gradients"][name]["norm"]) for name in kernel_order or () if name in snapshot["gradients"]
    ]
    signals = [(name, numbers["std"]) for name, numbers in snapshot["activations"].items()]
    problems += _spread("gradient", gradients[::-1]) or _spread("signal", signals)
    for name, numbers in snapshot["activations"].items():
        if numbers["dead"] >= 0.5:
            message = f"{numbers['dead']:.0%} of the units of {name} give 0 for every example"
            problems.append(Finding("dead", f"{message}: a lower rate, or an activation that leaks"))
        if numbers.get("saturated", 0) >= 0.5:
            message = f"{numbers['saturated']:.0%} of the values of {name} are saturated"
            problems.append(Finding("saturated", f"{message}: smaller initial weights, or normalized inputs"))
    for name, ratio in snapshot["updates"].items():
        if name.rpartition("/")[2] == "kernel" and ratio > RATIO[1]:
            problems.append(Finding("updates", f"{name} changes by {ratio:.1e} of itself a step: lower the rate"))
        elif name.rpartition("/")[2] == "kernel" and 0 < ratio < RATIO[0]:
            problems.append(Finding("updates", f"{name} changes by {ratio:.1e} of itself a step: raise the rate"))
    return problems
