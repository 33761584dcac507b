"""Find the step and the first array that became non-finite, by replaying from the last finite state.

After a non-finite update every parameter is non-finite, so the last state shows no cause. The carry records the first
step with non-finite metrics, and log steps check the whole state: parameters, optimizer, running statistics. Replaying
the same batches from the last checkpoint, without donation, every leaf is checked.

Leaves that contain an infinity at initialization (the best value before the first evaluation, errors of a line search)
are exempt for the whole run.
"""

import traceback
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.run.evaluate import compute_metrics, scalars
from dlcore.run.sharding import leaf_paths
from dlcore.run.step import Carry, Program

__all__ = ["REMEDY", "NonFiniteError", "bad_leaves", "diagnose", "unbounded_leaves"]

PARAMETERS = "params/"
REMEDY = "what often helps: a smaller learning_rate, a clip_norm, precision f32"
"""Advice if the data are finite."""


class NonFiniteError(FloatingPointError):
    """Training produced a NaN or an infinity; the message names the first step and array."""


@jax.jit
def _flags(leaves: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
    nan = jnp.stack([jnp.isnan(x).any() for x in leaves])
    return nan, nan | jnp.stack([jnp.isinf(x).any() for x in leaves])


def _is_on_host(x: Any) -> bool:
    """Return whether NumPy can read an array in place, which saves compiling a check."""
    return isinstance(x, np.ndarray) or (
        isinstance(x, jax.Array)
        and x.dtype != jnp.bfloat16
        and len(x.devices()) == 1
        and next(iter(x.devices())).platform == "cpu"
    )


def _flags_on_host(leaves: list[Any]) -> tuple[list[bool], list[bool]]:
    """Compute `_flags` with NumPy."""
    finite = [bool(np.isfinite(np.asarray(x)).all()) for x in leaves]
    nan = [not is_finite and bool(np.isnan(np.asarray(x)).any()) for x, is_finite in zip(leaves, finite, strict=True)]
    return nan, [not is_finite for is_finite in finite]


def _bad_paths(tree: Any) -> tuple[set[str], set[str]]:
    """Return the paths of floating-point leaves with a NaN, and of those with a NaN or an infinity."""
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    if not floats:
        return set(), set()
    flags = _flags_on_host(floats) if all(map(_is_on_host, floats)) else jax.device_get(_flags(floats))
    if not np.any(flags):  # compute paths only if needed
        return set(), set()
    paths = [path for path, x in leaf_paths(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    nan, nonfinite = ({path for path, bad in zip(paths, row, strict=True) if bad} for row in flags)
    return nan, nonfinite


def bad_leaves(tree: Any) -> set[str]:
    """Find non-finite leaves; waits for the device.

    Args:
      tree: pytree of arrays.

    Returns:
      Paths of the floating-point leaves with a NaN or an infinity.
    """
    return _bad_paths(tree)[1]


def unbounded_leaves(state: Any) -> set[str]:
    """Find the leaves in which infinities are allowed.

    Args:
      state: a learner's state before the first step.

    Returns:
      Paths of the leaves with an infinity and no NaN, except parameters.
    """
    nan, bad = _bad_paths(state)
    return {path for path in bad - nan if not path.startswith(PARAMETERS)}


def diagnose(
    program: Program, carry: Carry, batch_at: Callable[[int], Any], first: int, last: int, unbounded: set[str]
) -> tuple[int, str]:
    """Replay steps `first` to `last` until an array is not finite.

    Args:
      program: the compiled learner.
      carry: the state before `first`.
      batch_at: step -> batch.
      first: the first step to replay.
      last: the last step to replay.
      unbounded: result of `unbounded_leaves`.

    Returns:
      (step, explanation): the first non-finite step, its arrays and operation.
    """
    step_fn = program.undonated()
    for step in range(first, last + 1):
        batch = batch_at(step)
        _, before = program.take_sums(program.split(carry))
        after = step_fn(before, program.put(batch))
        metrics = scalars(compute_metrics(program.take_sums(after)[0]))
        after = program.join(after)
        if bad := bad_leaves(batch):
            return step, f"step {step}: the batch itself is not finite: {_some(bad)}"
        bad_state = bad_leaves(after.state) - unbounded
        if int(after.bad_step) >= 0 or bad_state:
            return step, _culprit(program, carry, batch, step, metrics, bad_state)
        carry = after
    return last, f"steps {first} to {last} were finite when replayed: the cause is not in the state and the batches"


def _culprit(program: Program, carry: Carry, batch: Any, step: int, metrics: dict, bad_after: set[str]) -> str:
    lines = [f"step {step}: state and batch before it were finite; metrics of the step: {metrics}"]
    loss = program.learner.loss
    if loss is not None and program.placement.spmd == "jit":
        gradient = jax.jit(jax.grad(lambda p, s, b: loss(p, s, b)[0]))
        bad = bad_leaves(gradient(carry.state.params, carry.state, program.put_global(batch)))
        if bad:
            lines.append(f"gradients of the loss that are not finite: {_some(bad)}")
    parameters = {path for path in bad_after if path.startswith(PARAMETERS)}
    if parameters:
        names = {path.removeprefix(PARAMETERS) for path in parameters}
        lines.append(f"parameters that are not finite after it: {_some(names)}")
    if other_leaves := bad_after - parameters:
        lines.append(f"other state that is not finite after it: {_some(other_leaves)}")
    if operation := _primitive(program, carry, batch):
        lines.append(operation)
    return "\n  ".join([*lines, REMEDY])


def _primitive(program: Program, carry: Carry, batch: Any) -> str | None:
    """Return operation and source line of the first non-finite value, from jax_debug_nans."""
    if program.placement.spmd != "jit":
        return None
    try:
        with jax.debug_nans(True), jax.debug_infs(True):
            jax.block_until_ready(jax.jit(program.learner.update)(carry.state, program.put_global(batch)))
    except FloatingPointError as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
        location = f" at {frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}" if frames else ""
        return f"{str(error).splitlines()[0]}{location}"
    except Exception:
        return None
    return None


def _some(paths: set[str]) -> str:
    return ", ".join(sorted(paths)[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
