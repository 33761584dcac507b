"""A learning rate that falls once a measure stops improving."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dlcore.optim._rules import check_at_least_0

__all__ = ["Plateau", "PlateauScale", "PlateauState", "has_plateau_scale", "scale_by_plateau", "set_plateau_scale"]


class PlateauState(NamedTuple):
    """The state of `Plateau`.

    Args:
      rate: [] float, learning rate now.
      best: [] float, best measurement so far.
      bad: [] int32, measurements without progress in a row.
      cooling: [] int32, measurements still to ignore after a reduction.
    """

    rate: jax.Array
    best: jax.Array
    bad: jax.Array
    cooling: jax.Array


class Plateau(NamedTuple):
    """Reduce the rate once a measure stops improving, as torch's ReduceLROnPlateau.

    Better means less than best - threshold |best|, or with `maximize` more than best + threshold |best|, which for a
    negative measure, too, is progress (torch's best (1 - threshold) is above it then); with `absolute` less than best -
    threshold, more than best + threshold. `optax.contrib.reduce_on_plateau` is the same inside an
    optimizer, with patience one higher.

    Args:
      rate: first learning rate.
      factor: what the rate is multiplied by.
      patience: measurements in a row without progress that are tolerated.
      threshold: how much better counts as progress.
      cooldown: measurements to ignore after a reduction.
      min_rate: least learning rate.
      maximize: a larger measure is better.
      absolute: `threshold` is a difference; otherwise a share of the best.
    """

    rate: float
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    cooldown: int = 0
    min_rate: float = 0.0
    maximize: bool = False
    absolute: bool = False

    def init(self) -> PlateauState:
        """Return the state before any measurement.

        Returns:
          State with the first rate.
        """
        check_at_least_0(rate=self.rate, min_rate=self.min_rate)
        if not 0 < self.factor < 1:
            raise ValueError(f"factor={self.factor}: out of range; allowed: above 0, below 1")
        for name in ("patience", "threshold", "cooldown"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)}: out of range; allowed: at least 0")
        worst = jnp.asarray(-jnp.inf if self.maximize else jnp.inf)
        return PlateauState(jnp.asarray(float(self.rate)), worst, jnp.int32(0), jnp.int32(0))

    def update(self, state: PlateauState, value: float) -> PlateauState:
        """Return the state after a measurement.

        Args:
          state: state before.
          value: the measurement.

        Returns:
          State; its `rate` holds from now on.
        """
        sign = 1 if self.maximize else -1
        margin = self.threshold * (1 if self.absolute else jnp.abs(state.best))
        better = sign * value > sign * state.best + jnp.where(jnp.isfinite(state.best), margin, 0)
        bad = jnp.where(better, 0, state.bad + 1)
        bad = jnp.where(state.cooling > 0, 0, bad)
        cooling = jnp.maximum(state.cooling - 1, 0)
        reduce = bad > self.patience
        return PlateauState(
            jnp.where(reduce, jnp.maximum(state.rate * self.factor, self.min_rate), state.rate),
            jnp.where(better, value, state.best),
            jnp.where(reduce, 0, bad),
            jnp.where(reduce, self.cooldown, cooling),
        )


class PlateauScale(NamedTuple):
    """The state of `scale_by_plateau`.

    Args:
      scale: [] float32, what updates are multiplied by.
    """

    scale: jax.Array


def scale_by_plateau() -> optax.GradientTransformation:
    """Multiply updates by a number that `set_plateau_scale` changes between steps, 1 at first.

    Returns:
      The optax transformation; it follows the optimizer in a chain.
    """

    def init(params: Any) -> PlateauScale:
        return PlateauScale(jnp.ones((), jnp.float32))

    def update(updates: Any, state: PlateauScale, params: Any = None) -> tuple[Any, PlateauScale]:
        return jax.tree.map(lambda u: (state.scale * u).astype(u.dtype), updates), state

    return optax.GradientTransformation(init, update)


def _is_scale(node: Any) -> bool:
    return isinstance(node, PlateauScale)


def has_plateau_scale(opt_state: Any) -> bool:
    """Find out whether an optimizer has a `scale_by_plateau`.

    Args:
      opt_state: state of an optax optimizer, or its shapes.

    Returns:
      Whether it does.
    """
    return any(map(_is_scale, jax.tree.leaves(opt_state, is_leaf=_is_scale)))


def set_plateau_scale(opt_state: Any, scale: float) -> Any:
    """Change what updates are multiplied by.

    Args:
      opt_state: state of an optax optimizer.
      scale: the number, for each `scale_by_plateau` in the state.

    Returns:
      The state.
    """
    check_at_least_0(scale=scale)
    return jax.tree.map(
        lambda node: PlateauScale(jnp.full_like(node.scale, scale)) if _is_scale(node) else node,
        opt_state,
        is_leaf=_is_scale,
    )
