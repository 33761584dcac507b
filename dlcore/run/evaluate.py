"""Measure and use a learner over whole sources: every example counted exactly once, in any batch, on any mesh."""

from typing import Any

import jax
import numpy as np

from dlcore.data.pipeline import padded_batches
from dlcore.learner import Learner, Metrics
from dlcore.run.sharding import batch_shardings, put_batch
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
        return put_batch(batch, batch_shardings(batch, self.placement.mesh))

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

    def outputs(self, state: Any, batches: Any) -> Any:
        """Predictions for every example, padding removed, stacked on the host in the order of the batches."""
        from jax.experimental import multihost_utils

        parts = []
        for batch in batches:
            out = self._predict(state, self.put(batch))
            mask = np.asarray(batch["mask"]) > 0
            if jax.process_count() > 1:
                out, mask = multihost_utils.process_allgather((out, self.put(mask)), tiled=True)
            parts.append(jax.tree.map(lambda x, mask=mask: np.asarray(x)[mask], jax.device_get(out)))
        if not parts:
            raise ValueError("the source to predict holds no example")
        return jax.tree.map(lambda *xs: np.concatenate(xs), *parts)


def flatten(metrics: Metrics) -> tuple[dict[str, float | None], dict[str, Any]]:
    """(numbers, everything else) of computed metrics; a metric of several values gives "name/value"."""
    numbers, rest = {}, {}
    for name, metric in metrics.items():
        value = metric.compute()
        for key, item in value.items() if isinstance(value, dict) else [("", value)]:
            key = f"{name}/{key}" if key else name
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
    learner: Learner, state: Any, source: Any, *, batch_size: int = 256, placement: Placement | None = None
) -> tuple[dict[str, float | None], dict[str, Any]]:
    """The learner's metrics over a whole source, every example counted once: `flatten` of the sums."""
    placement = placement or Placement()
    return flatten(Evaluation(learner, placement).metrics(state, padded(source, batch_size, placement)))


def predict(
    learner: Learner, state: Any, source: Any, *, batch_size: int = 256, placement: Placement | None = None
) -> Any:
    """The learner's outputs for every example of a source, in its order, as host arrays."""
    placement = placement or Placement()
    return Evaluation(learner, placement).outputs(state, padded(source, batch_size, placement))
