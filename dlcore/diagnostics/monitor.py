"""A look inside a network while it trains: updates over weights, gradients, activations, and what is wrong with them.

    ratio = |w' - w| / |w|      of each parameter array over one update; about 1e-3 where the rate is right
    dead unit: a channel whose activation is 0 for every example and place of the batch
    saturated: |tanh| > 0.97, or a sigmoid within 0.015 of 0 or 1 (there the slope is below 0.06 of its largest)

All of it is taken from a learner's own functions, so it works for every technique and model. Karpathy's lecture notes
on watching a network train (CS231n) give the ratio and its rule of thumb.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.diagnostics.trace import Operation, run_traced
from dlcore.learner import Batch, Learner

__all__ = ["Finding", "activations", "findings", "look", "update_ratios"]

RECTIFIERS = ("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "softplus", "hard_swish", "mish")
SATURATING = {"tanh": 0.97, "sigmoid": 0.985}
BINS = 32
RATIO = (1e-4, 1e-2)
"""Updates outside of it are remarked on."""
SPREAD = 1e3
"""Gradients, or activations, that differ by more from the first layer to the last vanish or explode."""


class Finding(NamedTuple):
    """kind: "updates", "dead", "saturated", "vanishing", "exploding" or "not finite". words: a sentence."""

    kind: str
    words: str


def _by_path(tree: Any) -> dict[str, jax.Array]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def update_ratios(before: Any, after: Any) -> dict[str, jax.Array]:
    """{path: |after - before| / |before|}, [] float32 for each array; an array of zeros counts as 1 long."""

    def ratio(old: jax.Array, new: jax.Array) -> jax.Array:
        old, new = (jnp.asarray(x, jnp.float32) for x in (old, new))
        size = jnp.linalg.norm(old.ravel())
        return jnp.linalg.norm((new - old).ravel()) / jnp.where(size > 0, size, 1)

    return _by_path(jax.tree.map(ratio, before, after))


def activations(function: Callable, *args: Any) -> dict[str, dict[str, Any]]:
    """What each non-linearity of `function(*args)` gives, in the order of computation.

    Names are those of flax modules and the activation, "stage1_block0/relu"; a second one there is "relu_2". Each has
    mean and std ([]), dead (share of units, the last axis), saturated (share of values; of tanh and sigmoid only),
    counts [32] and edges [33] of a histogram, and finite (bool). Jit it: then nothing but these numbers is kept. Loops
    are not opened (see `dlcore.diagnostics.trace`).
    """
    found: dict[str, dict[str, Any]] = {}

    def visit(operation: Operation) -> None:
        kind = _activation(operation)
        value = operation.outputs[0] if kind else None
        if kind is None or value.ndim < 2:
            return
        module = [part for part in operation.module.split("/") if part and "." not in part and "(" not in part]
        base = "/".join([*module[1:], kind])
        number = sum(name == base or name.startswith(f"{base}_") for name in found)
        found[base if number == 0 else f"{base}_{number + 1}"] = _statistics(value, kind)

    run_traced(function, *args, visit=visit)
    return found


def _activation(operation: Operation) -> str | None:
    """The name of the activation whose last operation this is."""
    if any(name in RECTIFIERS for name in operation.inside):
        return None
    if operation.name in RECTIFIERS:
        return operation.name
    zero = [np.ndim(x) == 0 and not isinstance(x, jax.core.Tracer) and x == 0 for x in operation.inputs]
    if operation.name == "max" and any(zero) and not operation.inside:  # not those of library functions, as of resize
        return "relu"
    return {"tanh": "tanh", "logistic": "sigmoid"}.get(operation.name)


def _statistics(value: jax.Array, kind: str) -> dict[str, Any]:
    value = value.astype(jnp.float32)
    silent = jnp.all(jnp.abs(value) <= 1e-8, axis=tuple(range(value.ndim - 1)))
    numbers = {
        "mean": value.mean(), "std": value.std(), "dead": silent.mean(), "finite": jnp.isfinite(value).all(),
        **_histogram(value),
    }  # fmt: skip
    if kind in SATURATING:
        distance = jnp.abs(value if kind == "tanh" else 2 * value - 1)
        bound = SATURATING[kind] if kind == "tanh" else 2 * SATURATING[kind] - 1
        numbers["saturated"] = (distance > bound).mean()
    return numbers


def _histogram(value: jax.Array) -> dict[str, jax.Array]:
    low, high = value.min(), value.max()
    edges = jnp.linspace(low, jnp.where(high > low, high, low + 1), BINS + 1)
    return {"counts": jnp.histogram(value, edges)[0], "edges": edges}


def look(learner: Learner, state: Any, batch: Batch) -> dict[str, Any]:
    """One look with a batch of training data: {"updates", "gradients", "activations"}, each {name: numbers}.

    updates: the ratio of each array over the update that this batch would make. gradients: norm, finite, and counts
    [32] and edges [33] of a histogram, of each array ({} where the learner has no loss). activations: as `activations`
    of the learner's `predict`. The state stays as it is. Jit it.
    """
    after, _ = learner.update(state, batch)
    found = {"updates": update_ratios(state.params, after.params), "gradients": {}, "activations": {}}
    if learner.loss is not None:
        gradients = _by_path(jax.grad(lambda params: learner.loss(params, state, batch)[0])(state.params))
        flat = {name: g.astype(jnp.float32).ravel() for name, g in gradients.items()}
        found["gradients"] = {
            name: {"norm": jnp.linalg.norm(g), "finite": jnp.isfinite(g).all(), **_histogram(g)}
            for name, g in flat.items()
        }
    found["activations"] = activations(learner.predict, state, batch)
    return found


def _spread(what: str, sizes: list[tuple[str, float]]) -> list[Finding]:
    """sizes: (layer, size) in the direction in which that flows."""
    if len(sizes) < 2 or not np.isfinite([size for _, size in sizes]).all() or not sizes[0][1] > 0:
        return []
    share = sizes[-1][1] / sizes[0][1]
    words = f"the {what} at {sizes[-1][0]} is {share:.1e} of that at {sizes[0][0]}"
    if share < 1 / SPREAD:
        return [Finding("vanishing", f"{words}: larger initial weights, another activation, normalisation, shortcuts")]
    return (
        [Finding("exploding", f"{words}: smaller initial weights, normalisation, clipping")] if share > SPREAD else []
    )


def findings(seen: Mapping[str, Any], order: Sequence[str] | None = None) -> list[Finding]:
    """What is wrong in a `look` (on the host), the worst first; [] where nothing is.

    order: names of the kernels from input to output, for gradients that vanish or explode; without, activations only.
    """
    said = []
    for part in ("gradients", "activations"):
        bad = [name for name, numbers in seen[part].items() if not numbers["finite"]]
        if bad:
            said.append(Finding("not finite", f"{part} that are not finite: {', '.join(bad[:5])}"))
    gradients = [(name, seen["gradients"][name]["norm"]) for name in order or () if name in seen["gradients"]]
    signals = [(name, numbers["std"]) for name, numbers in seen["activations"].items()]
    said += _spread("gradient", gradients[::-1]) or _spread("signal", signals)
    for name, numbers in seen["activations"].items():
        if numbers["dead"] >= 0.5:
            words = f"{numbers['dead']:.0%} of the units of {name} give 0 for every example"
            said.append(Finding("dead", f"{words}: a lower rate, or an activation that leaks"))
        if numbers.get("saturated", 0) >= 0.5:
            words = f"{numbers['saturated']:.0%} of the values of {name} are saturated"
            said.append(Finding("saturated", f"{words}: smaller initial weights, or normalised inputs"))
    for name, ratio in seen["updates"].items():
        if name.rpartition("/")[2] == "kernel" and ratio > RATIO[1]:
            said.append(Finding("updates", f"{name} changes by {ratio:.1e} of itself a step: lower the rate"))
        elif name.rpartition("/")[2] == "kernel" and 0 < ratio < RATIO[0]:
            said.append(Finding("updates", f"{name} changes by {ratio:.1e} of itself a step: raise the rate"))
    return said
