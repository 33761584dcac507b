"""Evaluate and apply a learner on sources: every example counts exactly once, for any batch size and mesh."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import FlaxError

from dlcore.activity import activity
from dlcore.choices import check_whole_number
from dlcore.data.pipeline import padded_batches
from dlcore.learner import Evaluator, Learner, Metrics, State, check_learner
from dlcore.run.inputs import batch_errors, check_evaluators, check_is, check_source
from dlcore.run.result import Result
from dlcore.run.sharding import put_rows
from dlcore.run.step import Placement
from dlcore.run.sums import Sums, fold

__all__ = ["Evaluation", "Measures", "arrays", "compute_metrics", "evaluate", "pad_local_batches", "predict", "scalars"]

DETAILS = "details"
"""Key of the measures that are arrays, in the result of `evaluate`."""

Measures = dict[str, float | np.ndarray | None]
"""Metrics and results of evaluators by name: a number, None without examples, or an array."""


@functools.lru_cache(maxsize=2)
def _programs(evaluate: Callable, predict: Callable) -> tuple[Callable, Callable]:
    """Jit (sums so far or None, state, batch) -> sums, and `predict`; validation and test share the programs."""

    def add(sums: Sums | None, state: Any, batch: Any) -> Sums:
        metrics = jax.tree.map(jnp.asarray, evaluate(state, batch))
        return (Sums.empty(metrics) if sums is None else sums).add(metrics)

    return jax.jit(add, donate_argnums=0), jax.jit(predict)


class Evaluation:
    """A learner's `evaluate` and `predict` over padded batches, compiled once per batch shape.

    Args:
      learner: the learner to run.
      placement: devices and shardings.
    """

    def __init__(self, learner: Learner, placement: Placement):
        self.placement = placement

        self._next, self._predict = _programs(learner.evaluate, learner.predict)

    def put(self, batch: Any) -> Any:
        """Copy a host batch to the devices.

        Args:
          batch: this process' part of the batch, on the host.

        Returns:
          The batch on the devices of the mesh.
        """
        return put_rows(batch, self.placement.mesh)

    def check(
        self,
        state: Any,
        source: Any,
        batch_size: int,
        name: str = "valid",
        method: Literal["evaluate", "predict"] = "evaluate",
    ) -> None:
        """Trace `evaluate` or `predict` on a source's first example, before any computation; it is not traced again.

        Args:
          state: the learner's state, or its shapes.
          source: source of the examples.
          batch_size: examples per batch.
          name: name of the source, for errors.
          method: which of the two.
        """
        if not len(source):
            raise ValueError(f"{name}: holds no example; allowed: at least one, or {name}=None")
        rows = next(iter(padded_batches(source, jax.process_count(), jax.process_index(), jax.process_count())))
        size = padded_size(source, batch_size, self.placement)

        def widened(x: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((size, *np.shape(x)[1:]), jax.dtypes.canonicalize_dtype(np.asarray(x).dtype))

        try:
            with self.placement.context(), batch_errors(rows, name):
                program = self._predict if method == "predict" else functools.partial(self._next, None)
                jax.eval_shape(program, state, jax.tree.map(widened, rows))
        except (ArithmeticError, LookupError, TypeError, ValueError, FlaxError) as error:
            if isinstance(error.__cause__, KeyError) or str(error).startswith("metrics"):  # the message says it all
                raise
            shapes = {
                jax.tree_util.keystr(p, simple=True): np.shape(x)[1:]
                for p, x in jax.tree_util.tree_leaves_with_path(rows)
                if np.ndim(x) > 1
            }
            described = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "their arrays"
            raise ValueError(
                f"{name}: {method} fails on its examples ({described}): {type(error).__name__}, "
                f"{str(error).splitlines()[0] if str(error) else ''}; allowed: examples of the training data's form"
            ) from error

    def metrics(self, state: Any, batches: Any, fold_every: int = 64) -> Metrics:
        """Sum the learner's metrics over all batches, exactly, on the host.

        Args:
          state: the learner's state.
          batches: masked batches on the host.
          fold_every: number of batches after which device sums move to 64-bit sums on the host.

        Returns:
          The merged metrics of all examples, before `compute`.
        """
        host, sums = None, None
        with activity("evaluating, batch") as show_count:
            for count, batch in enumerate(batches, 1):
                batch = self.put(batch)
                with self.placement.context(), batch_errors(batch):
                    sums = self._next(sums, state, batch)
                self.placement.pace(sums)
                show_count(count)
                if count % fold_every == 0:
                    host, sums = fold(host, sums.on_host()), None
            if sums is not None:
                host = fold(host, sums.on_host())
        if host is None:
            raise ValueError("source: holds no example to evaluate; allowed: at least one")
        return host

    def stream(self, state: Any, batches: Any) -> Iterator[tuple[Any, Any]]:
        """Predict batch by batch.

        Args:
          state: the learner's state.
          batches: masked batches on the host.

        Yields:
          (predictions, rows) of each batch on the host, padding removed.
        """
        from jax.experimental import multihost_utils

        with activity("predicting, batch") as show_count:
            for count, batch in enumerate(batches, 1):
                show_count(count)
                device = self.put(batch)
                with self.placement.context(), batch_errors(batch):
                    out, rows = self._predict(state, device), batch
                if jax.process_count() > 1:
                    out, rows = multihost_utils.process_allgather((out, device), tiled=True)
                valid = np.asarray(rows["mask"]) > 0
                yield jax.tree.map(lambda x, valid=valid: np.asarray(x)[valid], (jax.device_get(out), rows))

    def outputs(self, state: Any, batches: Any) -> Any:
        """Predict every example.

        Args:
          state: the learner's state.
          batches: masked batches on the host.

        Returns:
          The predictions stacked on the host in the order of the batches, padding removed.
        """
        parts = [out for out, _ in self.stream(state, batches)]
        if not parts:
            raise ValueError("source: holds no example to predict; allowed: at least one")
        return jax.tree.map(lambda *xs: np.concatenate(xs), *parts)

    def evaluator_measures(self, state: Any, evaluators: Sequence[Evaluator], source: Any, batch_size: int) -> Measures:
        """Run evaluators, with one pass of `predict` per source.

        Args:
          state: the learner's state.
          evaluators: evaluators to run.
          source: source for the evaluators that have no source of their own.
          batch_size: examples per batch.

        Returns:
          The results of all evaluators.
        """
        sources = [source if e.source is None else e.source for e in evaluators]
        measures: Measures = {}
        for shared in {id(s): s for s in sources}.values():
            group = [e for e, s in zip(evaluators, sources, strict=True) if s is shared]
            accumulators = [None if e.start is None else e.start(state) for e in group]
            for outputs, rows in self.stream(state, pad_local_batches(shared, batch_size, self.placement)):
                accumulators = [e.add(acc, outputs, rows) for e, acc in zip(group, accumulators, strict=True)]
            for evaluator, acc in zip(group, accumulators, strict=True):
                if acc is None:
                    raise ValueError("source: that of an evaluator holds no example; allowed: at least one")
                with activity(f"measuring {', '.join(evaluator.names[:3]) or 'the split'}"):
                    results = evaluator.finish(acc)
                for name, value in results.items():
                    if name in measures:
                        raise ValueError(f"evaluators: two evaluators give {name!r}; allowed: unique names")
                    if evaluator.names and np.ndim(value) == 0 and name not in evaluator.names:
                        allowed = ", ".join(evaluator.names)
                        raise ValueError(f"evaluators: one gives {name!r}, which it does not name; allowed: {allowed}")
                    measures[name] = _measure(value)
        return measures

    def measures(self, state: Any, source: Any, evaluators: Sequence[Evaluator], batch_size: int) -> Measures:
        """Compute the learner's metrics over a source, and run the evaluators.

        Args:
          state: the learner's state.
          source: source of the examples.
          evaluators: evaluators of the whole source.
          batch_size: examples per batch.

        Returns:
          name -> number, None or array.
        """
        metrics = compute_metrics(self.metrics(state, pad_local_batches(source, batch_size, self.placement)))
        results = self.evaluator_measures(state, evaluators, source, batch_size)
        if repeated := sorted(metrics.keys() & results.keys()):
            raise ValueError(
                f"evaluators: an evaluator and a metric are both called {repeated[0]!r}; allowed: new names"
            )
        return metrics | results


def compute_metrics(metrics: Metrics) -> Measures:
    """Compute metrics from their sums.

    Args:
      metrics: metrics on the host.

    Returns:
      name -> value; a metric with several values becomes "name/value".
    """
    measures: Measures = {}
    for name, metric in metrics.items():
        value = metric.compute()
        for key, item in value.items() if isinstance(value, dict) else [("", value)]:
            measures[f"{name}/{key}" if key else name] = _measure(item)
    return measures


def _measure(value: Any) -> float | np.ndarray | None:
    if value is None:
        return None
    return float(value) if np.ndim(value) == 0 else np.asarray(value)


def scalars(measures: Mapping[str, Any]) -> dict[str, float | None]:
    """Select the numbers, for logs.

    Args:
      measures: result of `evaluate` or `Evaluation.measures`.

    Returns:
      The measures that are numbers or None, without `details`.
    """
    return {name: value for name, value in measures.items() if not isinstance(value, np.ndarray | dict)}


def arrays(measures: Measures) -> dict[str, np.ndarray]:
    """Select the arrays, for reports.

    Args:
      measures: result of `Evaluation.measures`.

    Returns:
      The measures of more than one number.
    """
    return {name: value for name, value in measures.items() if isinstance(value, np.ndarray)}


def pad_local_batches(source: Any, batch_size: int, placement: Placement) -> Any:
    """Iterate over this process' masked batches of a source, with a size that divides over the devices.

    Args:
      source: source of the examples.
      batch_size: examples per batch over all devices; rounded up to a multiple of the devices.
      placement: placement; its mesh says how many devices share a batch.

    Returns:
      An iterable of batches with a `mask`, 0 for padding.
    """
    check_whole_number("batch_size", batch_size, 1)
    size = padded_size(source, batch_size, placement)
    return padded_batches(source, size, jax.process_index(), jax.process_count())


def padded_size(source: Any, batch_size: int, placement: Placement) -> int:
    """Return the size of the batches of `pad_local_batches`: a multiple of the devices that share one."""
    devices = placement.data_size
    return -(-min(batch_size, max(1, len(source))) // devices) * devices


def evaluate(
    learner: Learner,
    state: Any,
    source: Any,
    *,
    batch_size: int = 256,
    placement: Placement | None = None,
    evaluators: Sequence[Evaluator] = (),
) -> dict[str, Any]:
    """Evaluate a learner on a source, counting every example once.

    Args:
      learner: the learner that computes the metrics.
      state: the learner's state.
      source: source of the examples.
      batch_size: examples per batch; the result does not depend on it.
      placement: devices and shardings; None replicates over all devices.
      evaluators: evaluators of measures that are no sums over examples, such as mAP.

    Returns:
      {name: number, or None without examples}, and under "details" {name: array} of measures that are arrays, such as a
      confusion matrix or calibration bins.
    """
    check_evaluators(evaluators)
    evaluation = _evaluation(learner, state, source, batch_size, placement, "evaluate")
    measures = evaluation.measures(state, source, evaluators, batch_size)
    if DETAILS in measures:
        raise ValueError(f"metric={DETAILS!r}: the name of the arrays; allowed: any other name")
    return {**scalars(measures), DETAILS: arrays(measures)}


def predict(
    learner: Learner, state: Any, source: Any, *, batch_size: int = 256, placement: Placement | None = None
) -> Any:
    """Apply a learner to every example of a source.

    Args:
      learner: the learner; its `predict` runs.
      state: the learner's state.
      source: source of the examples.
      batch_size: examples per batch; the result does not depend on it.
      placement: devices and shardings; None replicates over all devices.

    Returns:
      The outputs as host arrays, in the order of the source.

    Raises:
      ValueError: the source is empty, or an argument is no learner, state or source.
    """
    evaluation = _evaluation(learner, state, source, batch_size, placement, "predict")
    return evaluation.outputs(state, pad_local_batches(source, batch_size, evaluation.placement))


def _evaluation(
    learner: Learner,
    state: Any,
    source: Any,
    batch_size: int,
    placement: Placement | None,
    method: Literal["evaluate", "predict"],
) -> Evaluation:
    """Check the arguments, and trace the method on the first example."""
    _check(learner, state, source, batch_size)
    placement = Placement() if placement is None else placement
    check_is("placement", placement, Placement)
    evaluation = Evaluation(learner, placement)
    try:
        if len(source):
            evaluation.check(state, source, batch_size, "source", method)
    except AttributeError as error:
        if isinstance(state, State):
            raise
        allowed = "what the learner's init or fit gives"
        raise ValueError(f"state={type(state).__name__}: no state of this learner; allowed: {allowed}") from error
    return evaluation


def _check(learner: Any, state: Any, source: Any, batch_size: int) -> None:
    check_learner(learner)
    check_source("source", source)
    check_whole_number("batch_size", batch_size, 1)
    if isinstance(state, Result):
        raise ValueError("state=Result: what fit returns; allowed: its state, result.state")
