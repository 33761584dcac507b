"""Population-based training: poor trials copy the weights and the settings of good ones.

Jaderberg, Dalibard, Osindero et al., "Population based training of neural networks" (2017), arXiv:1711.09846.

    exploit: each of the worst fifth becomes a copy of one of the best fifth, state and values
    explore: each copied value is multiplied by 0.8 or 1.2, within the space

Truncation selection and perturbation, as in the paper's section 4.1. The population is one learner of
`dlcore.search.together`, and `PopulationBasedTraining` is a hook of `dlcore.run.fit`: a run compiles once and resumes.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_choice, check_whole_number
from dlcore.ops.checks import check_shapes
from dlcore.search.space import Choice, Space
from dlcore.search.together import select

__all__ = ["PopulationBasedTraining", "exploit", "explore"]


def exploit(scores: np.ndarray, rng: np.random.Generator, share: float = 0.2) -> np.ndarray:
    """Choose the parent of each trial by truncation selection.

    Args:
      scores: [trials], higher is better; NaN is worst.
      rng: NumPy generator that chooses among the best.
      share: fraction of the trials that are replaced, and of those that are copied.

    Returns:
      [trials] int, indices of the parents.
    """
    _check_generator(rng)
    scores = np.asarray(scores, float)
    check_shapes(scores=(scores, "trials"))
    _check_share(share)
    count = max(1, int(share * len(scores)))
    order = np.argsort(np.where(np.isfinite(scores), -scores, np.inf), kind="stable")
    parents = np.arange(len(scores))
    best = [i for i in order[:count] if np.isfinite(scores[i])]
    if len(best) and len(scores) >= 2 * count:
        parents[order[-count:]] = rng.choice(best, count)
    return parents


def _check_generator(rng: np.random.Generator) -> None:
    if not isinstance(rng, np.random.Generator):
        raise ValueError(f"rng={rng!r}: no generator; allowed: np.random.default_rng(seed)")


def _check_share(fraction: float) -> None:
    if not 0 < fraction <= 0.5:
        raise ValueError(f"share={fraction}: out of range; allowed: (0, 0.5]")


def explore(
    values: Mapping[str, np.ndarray],
    copied: np.ndarray,
    space: Space,
    rng: np.random.Generator,
    factors: tuple[float, float] = (0.8, 1.2),
) -> dict[str, np.ndarray]:
    """Perturb copied values.

    Args:
      values: {name: [trials]}.
      copied: [trials] bool, which trials are perturbed.
      space: search space; its ends bound the values.
      rng: NumPy generator of the factors.
      factors: two factors; a random one multiplies a value.

    Returns:
      {name: [trials]}.
    """
    _check_generator(rng)
    check_shapes(copied=(copied, "trials"), **{name: (column, "trials") for name, column in values.items()})
    check_shapes(factors=(factors, "2"))
    check_shapes(factors=(factors, "... > 0"))
    for name in values:
        if name not in space or isinstance(space[name], Choice):
            raise ValueError(f"values: {name} has no interval in the space; allowed: {', '.join(space)}")
    explored = {}
    for name, column in values.items():
        column = np.asarray(column, float)
        perturbed = np.clip(column * rng.choice(factors, len(column)), space[name].low, space[name].high)
        explored[name] = np.where(copied, perturbed, column)
    return explored


class PopulationBasedTraining:
    """Hook of `fit` that exploits and explores; `memory["lineage"]` holds the step, parents, scores and values of each
    exchange.

    Args:
      space: search space; intervals only.
      metric: validation metric of the learner that ranks the trials.
      every: least number of steps between two exchanges.
      monitor_mode: whether the best metric is "max" or "min".
      share: fraction of the population that is replaced.
      seed: random seed.

    Raises:
      ValueError: an argument is out of range, or an axis is a Choice.
    """

    def __init__(
        self, space: Space, metric: str, every: int, monitor_mode: str = "max", share: float = 0.2, seed: int = 0
    ):
        check_choice("monitor_mode", monitor_mode, ("max", "min"))
        check_whole_number("every", every, 1)
        check_whole_number("seed", seed, 0)
        _check_share(share)
        if not space:
            raise ValueError("space: empty; allowed: at least one interval")
        if choices := [name for name, axis in space.items() if isinstance(axis, Choice)]:
            raise ValueError(f"space: {', '.join(choices)} is a choice; allowed: intervals")
        self.space, self.metric, self.every, self.share, self.seed = space, metric, every, share, seed
        self.sign = 1.0 if monitor_mode == "max" else -1.0
        self.memory: dict[str, Any] = {"next": every, "lineage": []}

    def __call__(self, step: int, state: Any, metrics: dict[str, float]) -> Any:
        """Exchange trials if an exchange is due and a validation has just run.

        Args:
          step: step of the run.
          state: stacked state of all trials.
          metrics: metrics of the step; at a validation they contain "valid/METRIC/TRIAL".

        Returns:
          The state after the exchange; None without an exchange.
        """
        trials = len(next(iter(state.values.values())))
        names = [f"valid/{self.metric}/{i}" for i in range(trials)]
        if step < self.memory["next"] or not any(name in metrics for name in names):
            return None
        scores = self.sign * np.array([metrics.get(name, np.nan) for name in names], float)
        rng = np.random.default_rng((self.seed, step))
        parents = exploit(scores, rng, self.share)
        copied = parents != np.arange(trials)
        values = explore({k: np.asarray(v)[parents] for k, v in state.values.items()}, copied, self.space, rng)
        history = [None if not np.isfinite(s) else float(self.sign * s) for s in scores]
        entry = {
            "step": step,
            "parents": parents.tolist(),
            "scores": history,
            "values": {k: v.tolist() for k, v in values.items()},
        }
        self.memory = {"next": step + self.every, "lineage": [*self.memory["lineage"], entry]}
        return select(state, parents).replace(
            values={k: jnp.asarray(v, jnp.float32) for k, v in values.items()}, step=state.step, rng=state.rng
        )
