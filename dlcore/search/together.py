"""Many trials in one compiled step: a learner vectorized over the values of its hyperparameters.

    state_i, metrics_i = update(build(values_i), state_i, batch)      i = 1 ... trials, the same batch for all

`build` makes a learner from values that may be traced, so that trials whose arrays have the same shapes (other learning
rates, penalties, smoothing) share one program. Dense networks use vmap; networks with convolutions use `lax.map` on a
CPU, where batched kernels are slow, and vmap elsewhere. A trial that diverges is frozen while the others continue; its
metrics are None from then on.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dlcore.choices import check_choice, check_whole_number
from dlcore.learner import Batch, Evaluator, Learner, Metric, Metrics, Sum
from dlcore.ops.checks import check_indices, check_shapes
from dlcore.run.step import all_finite

__all__ = [
    "ALIVE",
    "OfTrials",
    "TrialsState",
    "evaluator_of_trials",
    "scores_of",
    "select",
    "start_of_trials",
    "together",
]

ALIVE = "alive"
"""Name of the metric that is 1 for a trial that trains and None for one that diverged."""

Build = Callable[[Mapping[str, jax.Array]], Learner]


@struct.dataclass
class TrialsState:
    """States of all trials.

    Args:
      step: step of the run.
      rng: NumPy generator.
      inner: the learners' states, stacked along a leading axis of trials.
      values: {name: [trials]}, arguments of `build`.
      alive: [trials] bool, False after a trial's loss or state was not finite.
      bounded: [leaves of inner] bool, False for a leaf that contains infinities at initialization.
    """

    step: jax.Array
    rng: jax.Array
    inner: Any
    values: dict[str, jax.Array]
    alive: jax.Array
    bounded: jax.Array

    @property
    def params(self) -> Any:
        """The parameters of all trials."""
        return self.inner.params


class OfTrials(Metric):
    """A metric of every trial.

    Args:
      part: the mean or sum of every trial, stacked.
      bad: [trials] int, number of parts from a diverged trial.
    """

    part: Sum
    bad: jax.Array

    def finite(self) -> jax.Array:
        """Return whether the metric is finite: always, since `bad` marks diverged trials.

        Returns:
          [] bool, True.
        """
        return jnp.array(True)

    def compute(self) -> dict[str, float | None]:
        """Read the metric on the host.

        Returns:
          {"0": value, "1": value, ...}; None for a diverged trial.
        """
        rows = range(len(self.bad))
        values = [jax.tree.map(lambda x, i=i: np.asarray(x)[i], self.part).compute() for i in rows]
        return {str(i): None if self.bad[i] or values[i] is None else float(values[i]) for i in rows}


def together(
    build: Build, values: Mapping[str, Sequence[float]], mapping: Literal["auto", "vmap", "map"] = "auto"
) -> Learner:
    """Build a learner that trains one trial for each row of `values`, all with the same root key and batches.

    Args:
      build: {name: scalar, traced} -> learner. Its State must have the same shapes for all values.
      values: {name: [trials]} of numbers.
      mapping: vmap, map (one after the other), or auto, which depends on the network and the platform.

    Metrics that are means or sums of scalars become "name/0", "name/1", ..., beside ALIVE. Outputs of `predict` have
    the trials as their second axis. For jit only.

    Returns:
      The learner, whose state is a `TrialsState` and whose metrics are `OfTrials`.
    """
    check_choice("mapping", mapping, ("auto", "vmap", "map"))
    lengths = {name: len(column) for name, column in values.items()}
    if not lengths or len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ValueError(f"values={lengths} numbers: unequal; allowed: equally many for each name, at least one")

    def over(function: Callable, convolves: bool) -> Callable:
        if mapping == "vmap" or (mapping == "auto" and not convolves):
            return jax.vmap(function)

        def one_by_one(*args: Any) -> Any:
            return jax.lax.map(lambda row: function(*row), args)

        if mapping == "map":
            return one_by_one
        return lambda *args: jax.lax.platform_dependent(*args, cpu=one_by_one, default=jax.vmap(function))

    def init(rng: jax.Array, batch: Batch) -> TrialsState:
        columns = {name: jnp.asarray(column, jnp.float32) for name, column in values.items()}
        inner = jax.vmap(lambda row: build(row).init(rng, batch))(columns)
        active = jnp.ones(len(next(iter(columns.values()))), bool)
        bounded = jnp.stack([all_finite(leaf) for leaf in jax.tree.leaves(inner)])
        return TrialsState(jnp.zeros((), jnp.int32), rng, inner, columns, active, bounded)

    def of_trials(metrics: Metrics, active: jax.Array) -> Metrics:
        bad = (~active).astype(jnp.int32)
        return {name: OfTrials(m, bad) for name, m in metrics.items() if isinstance(m, Sum) and m.total.ndim == 1}

    def update(state: TrialsState, batch: Batch) -> tuple[TrialsState, Metrics]:
        def one(inner: Any, row: dict, active: jax.Array) -> tuple[Any, Metrics, jax.Array]:
            after, metrics = build(row).update(inner, batch)
            finite = jnp.stack([all_finite(leaf) for leaf in jax.tree.leaves(after)])
            active &= all_finite((after.params, metrics)) & jnp.all(finite | ~state.bounded)
            inner = jax.tree.map(lambda new, old: jnp.where(active, new, old), after, inner)
            return inner, _zero_unless(active, metrics), active

        step = over(one, _convolves(state.inner))
        inner, metrics, active = step(state.inner, state.values, state.alive)
        return state.replace(step=state.step + 1, inner=inner, alive=active), of_trials(metrics, active)

    def evaluate(state: TrialsState, batch: Batch) -> Metrics:
        def one(inner: Any, row: dict, active: jax.Array) -> tuple[Metrics, jax.Array]:
            metrics = build(row).evaluate(inner, batch)
            active &= all_finite({name: m for name, m in metrics.items() if isinstance(m, Sum)})
            return _zero_unless(active, metrics), active

        metrics, active = over(one, _convolves(state.inner))(state.inner, state.values, state.alive)
        return {
            **of_trials(metrics, active),
            ALIVE: OfTrials(Sum(active.astype(jnp.float32)), (~active).astype(jnp.int32)),
        }

    def predict(state: TrialsState, batch: Batch) -> Any:
        def one(inner: Any, row: dict) -> Any:
            return build(row).predict(inner, batch)

        outputs = over(one, _convolves(state.inner))(state.inner, state.values)
        return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), outputs)

    def classes(state: TrialsState, batch: Batch) -> dict:
        learner = build({name: jnp.float32(column[0]) for name, column in values.items()})
        one = jax.eval_shape(lambda inner: jax.tree.map(lambda x: x[0], inner), state.inner)
        return {} if learner.classes is None else learner.classes(one, batch)

    return Learner(init, update, evaluate, predict, classes=classes)


def _zero_unless(active: jax.Array, metrics: Metrics) -> Metrics:
    return jax.tree.map(lambda x: jnp.where(active, x, jnp.zeros_like(x)), metrics)


def _convolves(inner: Any) -> bool:
    """Return whether a trial has convolution kernels: leaves of four axes, and the axis of the trials."""
    return any(leaf.ndim == 5 for leaf in jax.tree.leaves(inner.params))


def select(state: TrialsState, rows: Sequence[int]) -> TrialsState:
    """Select trials.

    Args:
      state: stacked state of all trials.
      rows: indices of the trials, in the new order; an index may repeat.

    Returns:
      The state of these trials.
    """
    rows = np.asarray(rows)
    check_shapes(rows=(rows, "int N"))
    check_indices("rows", rows, len(state.alive), "trials")
    return state.replace(
        inner=jax.tree.map(lambda x: x[rows], state.inner),
        values={k: v[rows] for k, v in state.values.items()},
        alive=state.alive[rows],
    )


def start_of_trials(starts: Sequence[Callable[[Any], Any]]) -> Callable[[TrialsState], TrialsState]:
    """Combine the initial states of single trials.

    Args:
      starts: argument `start` of `fit` for each trial.

    Returns:
      Argument `start` of `fit` for all trials.
    """

    def start(state: TrialsState) -> TrialsState:
        if len(starts) != len(state.alive):
            raise ValueError(f"starts={len(starts)} functions: for {len(state.alive)} trials; allowed: one each")
        parts = [one(jax.tree.map(lambda x, i=i: x[i], state.inner)) for i, one in enumerate(starts)]
        return state.replace(inner=jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts))

    return start


def evaluator_of_trials(evaluator: Evaluator, trials: int) -> Evaluator:
    """Map an evaluator over the trials of `together`.

    Args:
      evaluator: evaluator of one trial.
      trials: number of trials.

    Returns:
      The evaluator of "name/0", "name/1", ...
    """
    check_whole_number("trials", trials, 1)

    def add(acc: list | None, outputs: Any, rows: Batch) -> list:
        if bad := [x.shape for x in jax.tree.leaves(outputs) if x.ndim < 2 or x.shape[1] != trials]:
            raise ValueError(f"outputs: one is {list(bad[0])}; allowed: [B, {trials}, ...], of as many trials")
        parts = [jax.tree.map(lambda x, i=i: x[:, i], outputs) for i in range(trials)]
        return [evaluator.add(one, part, rows) for one, part in zip(acc or [None] * trials, parts, strict=True)]

    def finish(acc: list) -> dict[str, Any]:
        return {f"{name}/{i}": value for i, one in enumerate(acc) for name, value in evaluator.finish(one).items()}

    names = tuple(f"{name}/{i}" for name in evaluator.names for i in range(trials))
    return Evaluator(add, finish, evaluator.source, names)


def scores_of(row: Mapping[str, Any], metric: str, trials: int) -> np.ndarray:
    """Read the scores of all trials from a row of the log.

    Args:
      row: metrics with the keys "METRIC/0", "METRIC/1", ...
      metric: METRIC.
      trials: number of trials.

    Returns:
      [trials]; NaN if the row has None, or the trial diverged.
    """
    check_whole_number("trials", trials, 1)
    if f"{metric}/0" not in row:
        names = sorted({key.rpartition("/")[0] for key in row if "/" in key} - {ALIVE})
        raise ValueError(f"metric={metric!r}: not measured for each trial; allowed: {', '.join(names)}")
    if f"{metric}/{trials - 1}" not in row or f"{metric}/{trials}" in row:
        raise ValueError(f"trials={trials}: not the number of the row's trials; allowed: as many as it has {metric}/N")
    values = [row.get(f"{metric}/{i}") for i in range(trials)]
    diverged = [value is None or row.get(f"{ALIVE}/{i}", 1) is None for i, value in enumerate(values)]
    return np.array(
        [np.nan if is_diverged else value for value, is_diverged in zip(values, diverged, strict=True)], float
    )
