"""Train many seeds at once: a learner vectorized over root keys, in one compiled step."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from dlcore.choices import check_whole_number
from dlcore.learner import Learner, Metrics, check_learner

__all__ = ["SeedsState", "over_seeds", "split_by_seed"]


@struct.dataclass
class SeedsState:
    """The states of all seeds.

    Args:
      step: [] int32.
      rng: root key, from which the seeds' keys are split.
      inner: states of the seeds, stacked along a leading axis.
    """

    step: jax.Array
    rng: jax.Array
    inner: Any

    @property
    def params(self) -> Any:
        """The parameters of all seeds."""
        return self.inner.params

    @property
    def opt_state(self) -> Any:
        """The optimizers' states of all seeds."""
        return self.inner.opt_state


def over_seeds(learner: Learner, seeds: int) -> Learner:
    """Vectorize a learner over several root keys, with the same batches; for jit only.

    Args:
      learner: learner of one seed.
      seeds: number of seeds; 1 returns the learner itself.

    Returns:
      A learner with metrics merged over the seeds under their own names, and single-seed metrics "name/seed0",
      "name/seed1", ...; its predictions have the seeds as their second axis.
    """
    check_whole_number("seeds", seeds, 1)
    check_learner(learner)
    if seeds == 1:
        return learner

    def by_seed(metrics: Metrics) -> Metrics:
        merged = {name: metric.collapse() for name, metric in metrics.items()}
        for name, metric in metrics.items():
            merged |= {f"{name}/seed{k}": jax.tree.map(lambda x, k=k: x[k], metric) for k in range(seeds)}
        return merged

    def init(rng: jax.Array, batch: Any) -> SeedsState:
        inner = jax.vmap(learner.init, in_axes=(0, None))(jax.random.split(rng, seeds), batch)
        return SeedsState(jnp.zeros((), jnp.int32), rng, inner)

    def update(state: SeedsState, batch: Any) -> tuple[SeedsState, Metrics]:
        inner, metrics = jax.vmap(learner.update, in_axes=(0, None))(state.inner, batch)
        return dataclasses.replace(state, step=state.step + 1, inner=inner), by_seed(metrics)

    def evaluate(state: SeedsState, batch: Any) -> Metrics:
        return by_seed(jax.vmap(learner.evaluate, in_axes=(0, None))(state.inner, batch))

    def predict(state: SeedsState, batch: Any) -> Any:
        return jax.vmap(learner.predict, in_axes=(0, None), out_axes=1)(state.inner, batch)

    def classes(state: SeedsState, batch: Any) -> Mapping:
        single = jax.eval_shape(lambda inner: jax.tree.map(lambda x: x[0], inner), state.inner)
        return {} if learner.classes is None else learner.classes(single, batch)

    return Learner(init, update, evaluate, predict, classes=learner.classes and classes)


def split_by_seed(history: list[dict], split: str = "train") -> tuple[list[dict], list[dict]]:
    """Separate the metrics of single seeds from a log, for plotting.

    Args:
      history: rows of the log.
      split: split whose metrics are returned for each seed.

    Returns:
      (rows without single-seed metrics, single-seed metrics of `split` as rows of the splits "seed 0", "seed 1", ...).
    """
    merged = [{k: v for k, v in row.items() if "/seed" not in k} for row in history]
    rows: dict[tuple[int, str], dict] = {}
    for row in history:
        for key, value in row.items():
            name, marked, seed = key.rpartition("/seed")
            if marked and row.get("split") == split:
                seed_row = rows.setdefault((row["step"], seed), {"step": row["step"], "split": f"seed {seed}"})
                seed_row[name] = value
    return merged, list(rows.values())
