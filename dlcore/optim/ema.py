"""An exponential moving average of the parameters, kept in the optimiser's state.

    e_t = d_t e_{t-1} + (1 - d_t) w_t,   d_t = min(decay, (1 + t) / (10 + t))

Polyak and Juditsky 1992; the warm-up of d is the customary one, so that early averages forget the initial weights.
`track_parameter_ema` goes last in a chain; `use_ema` makes a learner evaluate and predict with the average.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dlcore.learner import Learner

__all__ = ["ParameterEmaState", "parameter_ema", "track_parameter_ema", "use_ema"]


class ParameterEmaState(NamedTuple):
    """count: [] int32 updates seen. ema: the average, shaped like the parameters, float32 or wider."""

    count: jax.Array
    ema: Any


def track_parameter_ema(decay: float) -> optax.GradientTransformation:
    """Leaves the updates as they are and averages the parameters that they lead to.

    Raises:
      ValueError: decay is outside [0, 1).
    """
    if isinstance(decay, int | float) and not 0 <= decay < 1:
        raise ValueError(f"decay={decay} must lie in [0, 1)")

    def init(params):
        return ParameterEmaState(
            jnp.zeros((), jnp.int32), jax.tree.map(lambda p: jnp.array(_wide(p), copy=True), params)
        )

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("track_parameter_ema needs params: call update(updates, state, params)")
        count = state.count + 1
        d = jnp.minimum(decay, (1 + count) / (10 + count))
        new = optax.apply_updates(params, updates)
        ema = jax.tree.map(lambda e, w: e + (1 - d).astype(e.dtype) * (w.astype(e.dtype) - e), state.ema, new)
        return updates, ParameterEmaState(count, ema)

    return optax.GradientTransformation(init, update)


def _wide(p: jax.Array) -> jax.Array:
    return p.astype(jnp.promote_types(p.dtype, jnp.float32))


def parameter_ema(opt_state: Any, params: Any) -> Any:
    """The average kept in an optimiser state, in the dtypes of `params`.

    Raises:
      ValueError: no `track_parameter_ema` is in the chain.
    """
    found = [
        leaf
        for leaf in jax.tree.leaves(opt_state, is_leaf=lambda x: isinstance(x, ParameterEmaState))
        if isinstance(leaf, ParameterEmaState)
    ]
    if len(found) != 1:
        raise ValueError(
            f"the optimiser state holds {len(found)} parameter averages; put track_parameter_ema in the chain"
        )
    return jax.tree.map(lambda e, p: e.astype(p.dtype), found[0].ema, params)


def use_ema(learner: Learner) -> Learner:
    """The learner, measuring and predicting with the averaged parameters."""

    def averaged(state):
        return state.replace(params=parameter_ema(state.opt_state, state.params))

    return learner._replace(
        evaluate=lambda state, batch: learner.evaluate(averaged(state), batch),
        predict=lambda state, batch: learner.predict(averaged(state), batch),
    )
