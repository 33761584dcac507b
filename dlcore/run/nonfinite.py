"""Find the step and the first array that became non-finite, by replaying from the last finite state.

After a bad update every parameter is bad, so the last state shows no cause. The carry records the first bad step; from
the last checkpoint the same batches lead there again, without donation, and every leaf is checked on the way.
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

__all__ = ["NonFiniteError", "diagnose"]


class NonFiniteError(FloatingPointError):
    """Training produced a NaN or an infinity; the message says where it began."""


@jax.jit
def _bad(tree: Any) -> jax.Array:
    return jnp.stack([~jnp.isfinite(x).all() for x in jax.tree.leaves(tree)])


def bad_leaves(tree: Any) -> list[str]:
    """Paths of the floating-point leaves that hold a NaN or an infinity."""
    floats = [(path, x) for path, x in leaf_paths(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    if not floats:
        return []
    return [path for (path, _), bad in zip(floats, np.asarray(_bad([x for _, x in floats])), strict=True) if bad]


def diagnose(program: Program, carry: Carry, batch_at: Callable[[int], Any], first: int, last: int) -> tuple[int, str]:
    """Replay steps `first` to `last` until an array is not finite.

    Args:
      program: the compiled learner.
      carry: the state before `first`.
      batch_at: step -> batch.
      first: the first step to replay.
      last: the last step to replay.

    Returns:
      (step, explanation): where it began, and which arrays and which operation were the first.
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
        bad_state = set(bad_leaves(after.state.params)) - set(bad_leaves(carry.state.params))
        if int(after.bad_step) >= 0 or bad_state:
            return step, _culprit(program, carry, batch, step, metrics, sorted(bad_state))
        carry = after
    return last, f"steps {first} to {last} were finite when replayed: the cause is not in the state and the batches"


def _culprit(program: Program, carry: Carry, batch: Any, step: int, metrics: dict, bad_after: list[str]) -> str:
    lines = [f"step {step}: state and batch before it were finite; metrics of the step: {metrics}"]
    learner = program.learner
    if learner.loss is not None and program.placement.spmd == "jit":
        gradient = jax.jit(jax.grad(lambda p, s, b: learner.loss(p, s, b)[0]))
        bad = bad_leaves(gradient(carry.state.params, carry.state, program.put_global(batch)))
        if bad:
            lines.append(f"gradients of the loss that are not finite: {_some(bad)}")
    if bad_after:
        lines.append(f"parameters that are not finite after it: {_some(bad_after)}")
    if operation := _primitive(program, carry, batch):
        lines.append(operation)
    return "\n  ".join(lines)


def _primitive(program: Program, carry: Carry, batch: Any) -> str | None:
    """The operation and the source line of the first bad value, from jax_debug_nans."""
    if program.placement.spmd != "jit":
        return None
    try:
        with jax.debug_nans(True), jax.debug_infs(True):
            jax.block_until_ready(jax.jit(program.learner.update)(carry.state, program.put_global(batch)))
    except FloatingPointError as error:
        ours = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
        location = f" at {ours[-1].filename}:{ours[-1].lineno}: {ours[-1].line}" if ours else ""
        return f"{str(error).splitlines()[0]}{location}"
    except Exception:
        return None
    return None


def _some(paths: list[str]) -> str:
    return ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
