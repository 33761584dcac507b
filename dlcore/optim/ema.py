"""An exponential moving average of the parameters, in the optimizer's state.

    e_t = d_t e_{t-1} + (1 - d_t) w_t,   d_t = min(decay, (1 + t) / (10 + t))

Polyak and Juditsky 1992; the warm-up of d is the customary one, so that early averages forget the initial weights.
`track_parameter_ema` goes last in a chain; `use_ema` makes a learner evaluate and predict with the average.
"""

from numbers import Real
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dlcore.learner import Learner
from dlcore.ops.checks import check_counts, check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = [
    "ParameterEmaState",
    "cosine_momentum",
    "ema_decay",
    "ema_update",
    "init_average",
    "momentum_update",
    "parameter_ema",
    "track_parameter_ema",
    "use_ema",
]


class ParameterEmaState(NamedTuple):
    """The state of `track_parameter_ema`.

    Args:
      count: [] int32, updates so far.
      ema: the average, a pytree like the parameters, in at least float32.
    """

    count: jax.Array
    ema: Any


def ema_decay(decay: float | jax.Array, count: jax.Array) -> jax.Array:
    """Share of the old average that an update keeps: d_t.

    Args:
      decay: in [0, 1).
      count: [] int32, t, updates including this one.

    Returns:
      [] float32.
    """
    check_shapes(decay=(decay, "0 to <1"))
    check_counts("count", count)
    return jnp.minimum(decay, (1 + count) / (10 + count)).astype(jnp.float32)


def init_average(params: Any) -> Any:
    """Copy values as the start of a running average.

    Args:
      params: pytree.

    Returns:
      The copy, floating leaves in at least float32: in half precision small steps round to no step.
    """

    def copy(leaf: jax.Array) -> jax.Array:
        leaf = jnp.array(leaf, copy=True)
        floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        return to_acc_dtype(leaf) if floating else leaf

    return jax.tree.map(copy, params)


def _check_average(average: Any, new: Any) -> None:
    for leaf in jax.tree.leaves(average):
        dtype = jnp.result_type(leaf)
        if jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32:
            raise ValueError(f"average={dtype}: small steps round to no step; allowed: float32, as of init_average")
    leaves, values = jax.tree.leaves_with_path(average), jax.tree.leaves(new)
    for (path, leaf), value in zip(leaves, values, strict=False):  # jax.tree.map names a missing leaf
        if jnp.shape(leaf) != jnp.shape(value):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise ValueError(f"new: {name} of shape {jnp.shape(value)}; allowed: {jnp.shape(leaf)}, as the average's")


def ema_update(average: Any, new: Any, decay: float | jax.Array, count: jax.Array) -> Any:
    """Move an average towards new values, faster in the first updates.

    Args:
      average: e, in at least float32, as of `init_average`.
      new: w, the same tree.
      decay: share of the old average, in [0, 1).
      count: [] int32, t, updates including this one.

    Returns:
      e + (1 - d_t) (w - e).
    """
    _check_average(average, new)
    d = ema_decay(decay, count)
    return jax.tree.map(lambda e, w: e + (1 - d).astype(e.dtype) * (w.astype(e.dtype) - e), average, new)


def momentum_update(average: Any, new: Any, momentum: float | jax.Array) -> Any:
    """Move an average towards new values.

    Args:
      average: e, in at least float32, as of `init_average`.
      new: w, the same tree.
      momentum: m, in [0, 1].

    Returns:
      m e + (1 - m) w.
    """
    check_shapes(momentum=(momentum, "0 to 1"))
    _check_average(average, new)
    return jax.tree.map(lambda e, w: momentum * e + (1 - momentum) * w.astype(e.dtype), average, new)


def cosine_momentum(start: float, steps: int) -> optax.Schedule:
    """Build the schedule of a teacher's momentum, from `start` to 1 by half a cosine (BYOL, DINO).

    Args:
      start: m of the first step, in [0, 1].
      steps: number of steps of the run, at least 0.

    Returns:
      step -> m.
    """
    check_shapes(start=(start, "0 to 1"), steps=(steps, "int >= 0"))

    def schedule(step: jax.Array) -> jax.Array:
        progress = jnp.minimum(step / max(1, steps), 1.0)
        return 1 - (1 - start) * (1 + jnp.cos(jnp.pi * progress)) / 2

    return schedule


def track_parameter_ema(decay: float) -> optax.GradientTransformation:
    """Average the parameters that the updates lead to, and pass the updates on unchanged.

    Args:
      decay: share of the old average, in [0, 1); lower in the first updates.

    Returns:
      The optax transformation; `parameter_ema` reads the average.
    """
    if isinstance(decay, str) or (isinstance(decay, Real) and not 0 <= decay < 1):
        raise ValueError(f"decay={decay}: out of range; allowed: 0 to below 1")

    def init(params):
        return ParameterEmaState(jnp.zeros((), jnp.int32), init_average(params))

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("params=None: missing; allowed: the parameters, as in update(updates, state, params)")
        count = state.count + 1
        new = optax.apply_updates(params, updates)
        return updates, ParameterEmaState(count, ema_update(state.ema, new, decay, count))

    return optax.GradientTransformation(init, update)


def parameter_ema(opt_state: Any, params: Any) -> Any:
    """Read the average of `track_parameter_ema` from an optimizer state.

    Args:
      opt_state: state of a chain with one `track_parameter_ema`; or of several networks, {network: such a state}.
      params: parameters, whose dtypes the average takes; of several networks {network: parameters}.

    Returns:
      Pytree like `params`.
    """
    if isinstance(opt_state, dict) and opt_state.keys() == params.keys():
        return {name: parameter_ema(opt_state[name], params[name]) for name in params}
    leaves = jax.tree.leaves(opt_state, is_leaf=lambda x: isinstance(x, ParameterEmaState))
    states = [leaf for leaf in leaves if isinstance(leaf, ParameterEmaState)]
    if len(states) != 1:
        raise ValueError(
            f"opt_state={type(opt_state).__name__}: holds {len(states)} of track_parameter_ema; allowed: one"
        )
    return jax.tree.map(lambda e, p: e.astype(p.dtype), states[0].ema, params)


def use_ema(learner: Learner) -> Learner:
    """Make a learner evaluate and predict with the averaged parameters.

    Args:
      learner: one whose optimizer has `track_parameter_ema` in its chain.

    Returns:
      The learner; it trains as before.
    """

    def averaged(state):
        return state.replace(params=parameter_ema(state.opt_state, state.params))

    return learner._replace(
        evaluate=lambda state, batch: learner.evaluate(averaged(state), batch),
        predict=lambda state, batch: learner.predict(averaged(state), batch),
    )
