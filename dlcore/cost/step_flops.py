"""FLOPs of any function that JAX traces, a training step among them, from its jaxpr, with loops counted in full.

    FLOPs = 2 MACs of every convolution and matrix product      a scan: its length times its body

XLA's own count of a compiled program counts the body of a loop once, whatever its length. Here a `scan` counts its body
`length` times. The iterations of a `while` are unknown: its body counts once, and `loops` counts such loops. Of a
`cond` the most expensive branch counts. Inside `shard_map` and `pmap` shapes are those of one device, and every device
counts. Elementwise work counts 0, as in `dlcore.cost.layers`, and so do equations that no output needs. Recomputation
(remat) is part of a gradient's jaxpr, so it counts, as in Chowdhery et al. 2022, arXiv:2204.02311, appendix B.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.extend.core import Jaxpr, jaxprs_in_params
from jax.interpreters import partial_eval

from dlcore.cost.module_program import mac_count

__all__ = ["StepFlops", "step_flops"]


class StepFlops(NamedTuple):
    """Work of a function.

    Args:
      macs: multiply-adds, over all devices.
      loops: number of `while` loops that contain products; one iteration of each is counted.
    """

    macs: int
    loops: int = 0

    @property
    def flops(self) -> int:
        """2 MACs."""
        return 2 * self.macs


def step_flops(function: Callable, *args: Any) -> StepFlops:
    """Count the work of `function(*args)`; nothing is run.

    Args:
      function: function that JAX can trace, such as a learner's `update`.
      *args: arrays, or their shapes and dtypes.

    Returns:
      The counts.
    """
    if not callable(function):
        raise ValueError(f"function={function!r}: no function; allowed: one that JAX can trace")
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    needed, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return _count(needed)


def _count(jaxpr: Jaxpr) -> StepFlops:
    macs = loops = 0
    for equation in jaxpr.eqns:
        equation_flops = _count_equation(equation)
        macs, loops = macs + equation_flops.macs, loops + equation_flops.loops
    return StepFlops(macs, loops)


def _count_equation(equation: Any) -> StepFlops:
    name, params = equation.primitive.name, equation.params
    inner = [_count(jaxpr) for jaxpr in jaxprs_in_params(params)]
    if name == "cond":
        return max(inner)
    macs, loops = mac_count(equation) + sum(i.macs for i in inner), sum(i.loops for i in inner)
    if name == "while" and macs:
        loops += 1
    return StepFlops(macs * _repetitions(name, params), loops)


def _repetitions(name: str, params: dict[str, Any]) -> int:
    if name == "scan":
        return params["length"]
    if name == "shard_map":
        return math.prod(params["mesh"].shape[axis] for axis in params.get("manual_axes", params["mesh"].axis_names))
    if name == "xla_pmap":
        return params["global_axis_size"]
    return 1
