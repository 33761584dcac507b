"""A learner's state: before the first optimizer step, and after one."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.learner import Metrics, ModelState, State
from dlcore.ops.replica import pmean
from dlcore.optim.replica import cross_replica

__all__ = ["apply_gradients", "apply_part_gradients", "descend", "init_model_state", "init_state", "optimizer_step"]

NOT_PLAIN = {
    "LookaheadState": "optax.lookahead: its parameters are a pair, fast and slow",
    "SAMState": "optax.contrib.sam: it alternates between two points, or takes gradients of its own",
}
"""What optimizers with these states need that a learner's `update` does not give."""

StateT = TypeVar("StateT", bound=State)


def init_state(params: Any, optimizer: optax.GradientTransformation, rng: jax.Array) -> State:
    """Make the state before the first step of a model that has parameters alone.

    Args:
      params: parameters of the model.
      optimizer: optax transformation for them.
      rng: root key of `Learner.init`.

    Returns:
      The state at step 0.
    """
    return State(jnp.zeros((), jnp.int32), jax.random.fold_in(rng, 1), params, optimizer.init(params))


def init_model_state(
    model: nn.Module, optimizer: optax.GradientTransformation, rng: jax.Array, *inputs: Any
) -> ModelState:
    """Initialize a model of the contract `__call__(*inputs, train)` and its optimizer.

    Args:
      model: flax module.
      optimizer: optax transformation for the parameters.
      rng: root key of `Learner.init`.
      *inputs: what the model takes before `train`.

    Returns:
      The state at step 0.
    """
    model_state = dict(model.init(jax.random.fold_in(rng, 0), *inputs, train=False))
    params = model_state.pop("params")
    step, rng = jnp.zeros((), jnp.int32), jax.random.fold_in(rng, 1)
    return ModelState(step, rng, params, optimizer.init(params), model_state)


def optimizer_step(
    optimizer: optax.GradientTransformation,
    gradients: Any,
    opt_state: Any,
    params: Any,
    *,
    value: jax.Array | None = None,
    value_fn: Callable[[Any], jax.Array] | None = None,
) -> tuple[Any, Any]:
    """Take one optimizer step, by the gradients averaged over replicas (`cross_replica`).

    Args:
      optimizer: any optax transformation.
      gradients: pytree like `params`, of this replica.
      opt_state: state of the optimizer.
      params: parameters before the step.
      value: scalar loss at `params`, for optimizers with a line search (L-BFGS); None for others.
      value_fn: params -> scalar loss, for the same optimizers; None for others.

    Returns:
      (params, opt_state) after the step, the same on all replicas.
    """
    _check_plain(opt_state)
    _check_gradients(gradients, params)
    extra: dict[str, Any] = {} if value is None else {"value": value, "grad": gradients}
    if value_fn is not None:
        extra["value_fn"] = value_fn
    updates, opt_state = cross_replica(optimizer).update(gradients, opt_state, params, **extra)
    return optax.apply_updates(params, updates), opt_state


def _check_plain(opt_state: Any) -> None:
    """Refuse transformations that need more than gradients and one set of parameters."""
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: type(node).__name__ in NOT_PLAIN)
    for name in {type(node).__name__ for node in nodes} & NOT_PLAIN.keys():
        raise ValueError(
            f"optimizer={NOT_PLAIN[name]}; allowed: transformations of one tree of parameters and its gradients"
        )


def _check_gradients(gradients: Any, params: Any) -> None:
    """Refuse gradients of other shapes, which would broadcast; optax names trees that differ."""
    if jax.tree.structure(gradients) != jax.tree.structure(params):
        return
    values = jax.tree.leaves(params)
    for (path, gradient), value in zip(jax.tree.leaves_with_path(gradients), values, strict=True):
        if jnp.shape(gradient) != jnp.shape(value):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise ValueError(
                f"gradients: {name} of shape {jnp.shape(gradient)}; allowed: {jnp.shape(value)}, as the parameters'"
            )


def apply_gradients(
    state: StateT,
    optimizer: optax.GradientTransformation,
    gradients: Any,
    *,
    value: jax.Array | None = None,
    value_fn: Callable[[Any], jax.Array] | None = None,
    model_state: Any = None,
    **changes: Any,
) -> StateT:
    """Take one optimizer step: update `params` and `opt_state`, and count the step.

    Under pmap, gradients, the loss of a line search and batch statistics are averaged over replicas here.

    Args:
      state: state before the step.
      optimizer: any optax transformation whose state is `state.opt_state`.
      gradients: pytree like `state.params`.
      value: scalar loss at `state.params`, for optimizers with a line search (L-BFGS); None for others.
      value_fn: params -> scalar loss, for the same optimizers; None for others.
      model_state: batch statistics after the step, of this replica; None for a state without.
      **changes: further fields of the state to replace.

    Returns:
      The state after the step, of the same class.
    """
    line_search = {"value": value, "value_fn": value_fn}
    params, opt_state = optimizer_step(optimizer, gradients, state.opt_state, state.params, **line_search)
    if model_state is not None:
        changes["model_state"] = pmean(model_state)
    return state.replace(step=state.step + 1, params=params, opt_state=opt_state, **changes)


def descend(
    state: StateT, optimizer: optax.GradientTransformation, objective: Callable[[Any], tuple[jax.Array, Any]]
) -> tuple[StateT, Metrics]:
    """Take one optimizer step down an objective, which line searches evaluate again.

    Args:
      state: state before the step.
      optimizer: any optax transformation whose state is `state.opt_state`.
      objective: params -> (scalar loss, metrics); with batch statistics (scalar loss, (metrics, model_state)).

    Returns:
      (the state after the step, the metrics before it).
    """
    (value, aux), gradients = jax.value_and_grad(objective, has_aux=True)(state.params)
    metrics, model_state = aux if isinstance(aux, tuple) else (aux, None)
    search = {"value": value, "value_fn": lambda params: objective(params)[0]}
    return apply_gradients(state, optimizer, gradients, model_state=model_state, **search), metrics


def apply_part_gradients(
    state: StateT, optimizer: optax.GradientTransformation, part: str, gradients: Any, **changes: Any
) -> StateT:
    """Take one optimizer step of one part of the parameters; the step is not counted.

    Args:
      state: state whose `params` and `opt_state` are dicts by part.
      optimizer: optax transformation of that part.
      part: its name.
      gradients: pytree like `state.params[part]`.
      **changes: further fields of the state to replace.

    Returns:
      The state after it, of the same class.
    """
    check_choice("part", part, state.params)
    params, opt_state = optimizer_step(optimizer, gradients, state.opt_state[part], state.params[part])
    params, opt_state = {**state.params, part: params}, {**state.opt_state, part: opt_state}
    return state.replace(params=params, opt_state=opt_state, **changes)
