"""Measure and use a learner over whole sources: every example counted exactly once, in any batch, on any mesh."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from dlcore.data.pipeline import padded_batches
from dlcore.learner import Evaluator, Learner, Metrics
from dlcore.run.sharding import put_rows
from dlcore.run.step import Placement, fold, merge

__all__ = ["Evaluation", "evaluate", "flatten", "padded", "predict"]


class Evaluation:
    """A learner's `evaluate` and `predict` over padded batches, compiled once for each shape of batch."""

    def __init__(self, learner: Learner, placement: Placement):
        self.placement = placement
        self._first = jax.jit(learner.evaluate)
        self._next = jax.jit(lambda sums, state, batch: merge(sums, learner.evaluate(state, batch)), donate_argnums=0)
        self._predict = jax.jit(learner.predict)

    def put(self, batch: Any) -> Any:
        """Host rows to the devices."""
        return put_rows(batch, self.placement.mesh)

    def metrics(self, state: Any, batches: Any, fold_every: int = 64) -> Metrics:
        """Exact sums over all batches, on the host.

        Raises:
          ValueError: there is no batch.
        """
        host, sums = None, None
        for count, batch in enumerate(batches, 1):
            batch = self.put(batch)
            sums = self._first(state, batch) if sums is None else self._next(sums, state, batch)
            self.placement.pace(sums)
            if count % fold_every == 0:
                host, sums = fold(host, jax.device_get(sums)), None
        if sums is not None:
            host = fold(host, jax.device_get(sums))
        if host is None:
            raise ValueError("the source to evaluate holds no example")
        return host

    def stream(self, state: Any, batches: Any) -> Iterator[tuple[Any, Any]]:
        """(predictions, rows) of each batch on the host, padding removed."""
        from jax.experimental import multihost_utils

        for batch in batches:
            device = self.put(batch)
            out, rows = self._predict(state, device), batch
            if jax.process_count() > 1:
                out, rows = multihost_utils.process_allgather((out, device), tiled=True)
            keep = np.asarray(rows["mask"]) > 0
            yield jax.tree.map(lambda x, keep=keep: np.asarray(x)[keep], (jax.device_get(out), rows))

    def outputs(self, state: Any, batches: Any) -> Any:
        """Predictions for every example, padding removed, stacked on the host in the order of the batches."""
        parts = [out for out, _ in self.stream(state, batches)]
        if not parts:
            raise ValueError("the source to predict holds no example")
        return jax.tree.map(lambda *xs: np.concatenate(xs), *parts)

    def measures(
        self, state: Any, evaluators: Sequence[Evaluator], split: Any, batch_size: int
    ) -> tuple[dict[str, float | None], dict[str, Any]]:
        """(numbers, everything else) that the evaluators find; one pass of `predict` serves all of one source.

        Raises:
          ValueError: two evaluators give the same name, or a source holds no example.
        """
        sources = [split if e.source is None else e.source for e in evaluators]
        found: dict[str, Any] = {}
        for source in {id(s): s for s in sources}.values():
            here = [e for e, s in zip(evaluators, sources, strict=True) if s is source]
            kept = [None] * len(here)
            for outputs, rows in self.stream(state, padded(source, batch_size, self.placement)):
                kept = [e.add(acc, outputs, rows) for e, acc in zip(here, kept, strict=True)]
            for evaluator, acc in zip(here, kept, strict=True):
                if acc is None:
                    raise ValueError("the source of an evaluator holds no example")
                for name, value in evaluator.finish(acc).items():
                    if name in found:
                        raise ValueError(f"two evaluators give {name!r}")
                    found[name] = value
        return _sort(found)

    def everything(
        self, state: Any, source: Any, evaluators: Sequence[Evaluator], batch_size: int
    ) -> tuple[dict[str, float | None], dict[str, Any]]:
        """The learner's metrics over a source, and what the evaluators find."""
        numbers, arrays = flatten(self.metrics(state, padded(source, batch_size, self.placement)))
        more_numbers, more_arrays = self.measures(state, evaluators, source, batch_size)
        if twice := ({*numbers, *arrays} & {*more_numbers, *more_arrays}):
            raise ValueError(f"an evaluator and a metric are both called {sorted(twice)[0]!r}")
        return numbers | more_numbers, arrays | more_arrays


def flatten(metrics: Metrics) -> tuple[dict[str, float | None], dict[str, Any]]:
    """(numbers, everything else) of computed metrics; a metric of several values gives "name/value"."""
    found = {}
    for name, metric in metrics.items():
        value = metric.compute()
        for key, item in value.items() if isinstance(value, dict) else [("", value)]:
            found[f"{name}/{key}" if key else name] = item
    return _sort(found)


def _sort(found: dict[str, Any]) -> tuple[dict[str, float | None], dict[str, Any]]:
    numbers, rest = {}, {}
    for key, item in found.items():
        if item is None or np.ndim(item) == 0:
            numbers[key] = None if item is None else float(item)
        else:
            rest[key] = np.asarray(item)
    return numbers, rest


def padded(source: Any, batch_size: int, placement: Placement) -> Any:
    """This process's masked batches of a source, of a size that divides over the devices."""
    devices = placement.data_size
    batch_size = -(-min(batch_size, max(1, len(source))) // devices) * devices
    return padded_batches(source, batch_size, jax.process_index(), jax.process_count())


def evaluate(
    learner: Learner,
    state: Any,
    source: Any,
    *,
    batch_size: int = 256,
    placement: Placement | None = None,
    evaluators: Sequence[Evaluator] = (),
) -> tuple[dict[str, float | None], dict[str, Any]]:
    """(numbers, everything else) of a whole source: the learner's metrics, every example counted once, and evaluators.

    Raises:
      ValueError: the source is empty, or an evaluator gives a name that a metric has.
    """
    placement = placement or Placement()
    return Evaluation(learner, placement).everything(state, source, evaluators, batch_size)


def predict(
    learner: Learner, state: Any, source: Any, *, batch_size: int = 256, placement: Placement | None = None
) -> Any:
    """The learner's outputs for every example of a source, in its order, as host arrays."""
    placement = placement or Placement()
    return Evaluation(learner, placement).outputs(state, padded(source, batch_size, placement))
