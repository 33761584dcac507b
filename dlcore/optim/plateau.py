"""A learning rate that falls once a measure stops improving."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

__all__ = ["Plateau", "PlateauState"]


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
        """The state before any measurement.

        Returns:
          State with the first rate.
        """
        worst = jnp.asarray(-jnp.inf if self.maximize else jnp.inf)
        return PlateauState(jnp.asarray(float(self.rate)), worst, jnp.int32(0), jnp.int32(0))

    def update(self, state: PlateauState, value: float) -> PlateauState:
        """The state after a measurement.

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
