"""The contract of dlcore: a learner is a handful of pure functions, and a metric is a value that adds up.

A technique file ends in one function, `learner(*, model, optimizer, ...) -> Learner`. Everything that drives learners
(`dlcore.run`) uses these types and nothing else of a technique.

A batch is any pytree of arrays with a leading example axis, usually a dict. Every batch carries `index: [B] int32`
(the example's position in its source) and, where it was padded, `mask: [B]` (1 for an example, 0 for padding).
"""

import functools
import math
from collections.abc import Callable, Mapping
from inspect import isfunction, signature
from numbers import Integral, Real
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self, Union, get_args, get_origin, get_type_hints

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from flax import struct

from dlcore.choices import check_choice, check_whole_number

__all__ = [
    "Batch",
    "CheckedRecord",
    "Evaluator",
    "Labels",
    "Last",
    "Learner",
    "Max",
    "Metric",
    "Metrics",
    "ModelState",
    "Range",
    "State",
    "Sum",
    "check_arguments",
    "check_countable",
    "check_kind",
    "check_learner",
    "check_range",
    "check_record",
    "example_keys",
    "is_record",
    "mask_of",
    "root_key",
    "value_mask",
]

MOST_SEED = 2**32 - 1
EXAMPLES = {"GradientTransformation": ", as optax.adam(1e-3)", "Module": ", as create_model('resnet18')"}
"""What an argument of a class may be, for errors."""
Batch = Any
Metrics = dict[str, "Metric"]


class Learner(NamedTuple):
    """Pure functions that train, measure and use one technique.

    Args:
      init: (rng, batch) -> State. Jitted; the batch gives shapes and, where a technique wants it, data.
      update: (State, batch) -> (State, Metrics). One step; `State.step` grows by one.
      evaluate: (State, batch) -> Metrics. Honors `mask`; draws random numbers from `fold_in(rng, index)` only.
      predict: (State, batch) -> outputs, a pytree with a leading example axis.
      loss: (params, State, batch) -> (scalar, Metrics), for the modes that differentiate; None where a technique has no
        such scalar.
      batched: path patterns (fnmatch, "/"-separated) of the State leaves whose leading axis is the batch.
      classes: (State, batch) -> {label: number of classes, or `Labels`}, by shapes alone: `fit` checks these entries of
        the batch before it trains; "PART/label" is the label of one part of a batch of several. "index" limits the
        number of training examples, where the state has a row for each. None where a batch has no labels to check.
    """

    init: Callable[[jax.Array, Batch], Any]
    update: Callable[[Any, Batch], tuple[Any, Metrics]]
    evaluate: Callable[[Any, Batch], Metrics]
    predict: Callable[[Any, Batch], Any]
    loss: Callable[[Any, Any, Batch], tuple[jax.Array, Metrics]] | None = None
    batched: tuple[str, ...] = ()
    classes: "Callable[[Any, Batch], Mapping[str, int | Labels]] | None" = None


class Labels(NamedTuple):
    """Which labels `fit` lets pass, for `Learner.classes`.

    Args:
      count: C; labels are from 0 to C - 1.
      ignored: a label that stands for none, such as that of void pixels; None for no such label.
      valid: name of an entry of the batch, of the labels' shape, that is 0 where a label is padding; None for none.
      reason: what limits them, for the error message ("num_unlabeled=50"); None for the model's outputs.
    """

    count: int
    ignored: int | None = None
    valid: str | None = None
    reason: str | None = None


class Evaluator(NamedTuple):
    """A measure of a whole data set, taken on the host from the outputs of `predict` (mAP, k-NN, Fréchet distance).

    Args:
      add: (acc, outputs, rows) -> acc, for one batch after the other, without padding, as numpy arrays; the first `acc`
        is None, or what `start` gives.
      finish: acc -> {name: number or array}.
      source: what `predict` runs over; None stands for the split that is being measured.
      names: names of the numbers that `finish` may give, so that they are known before anything is measured; a search
        can be judged by these.
      start: State -> the first `acc`, for a measure that goes on from the trained weights (fine-tuning); None starts
        from None.
    """

    add: Callable[[Any, Any, Batch], Any]
    finish: Callable[[Any], dict[str, Any]]
    source: Any = None
    names: tuple[str, ...] = ()
    start: Callable[[Any], Any] | None = None


@struct.dataclass
class State:
    """What every technique carries; a technique adds its own arrays in a subclass.

    Args:
      step: [] int32, updates so far.
      rng: a root key, never split and stored: derive keys with `fold_in(state.rng, state.step)`.
      params: what the optimizer changes.
      opt_state: the optimizer's state.
    """

    step: jax.Array
    rng: jax.Array
    params: Any
    opt_state: Any

    if TYPE_CHECKING:

        def replace(self, **fields: Any) -> Self: ...


@struct.dataclass
class ModelState(State):
    """The state of one model.

    Args:
      model_state: its other collections (batch statistics); {} where it has none.
    """

    model_state: Any


class Range(NamedTuple):
    """Limit a number: `dropout: Annotated[float, Range(0, 1)] = 0.5`.

    Args:
      low: the smallest allowed value.
      high: the largest allowed value.
    """

    low: float = -np.inf
    high: float = np.inf


def check_arguments(function: Callable) -> Callable:
    """Decorate a `learner` function: what is of another kind than its annotation, or out of range, is refused.

    Args:
      function: function with annotated keyword arguments; those of a record (`is_record`) are checked field by field.

    Returns:
      The function; traced numbers, and arrays of more than one, pass.
    """
    hints, names = get_type_hints(function, include_extras=True), list(signature(function).parameters)

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        _check(hints, dict(zip(names, args, strict=False)) | kwargs)  # too many are the function's own error
        result = function(*args, **kwargs)
        return result._replace(predict=_of_batches(result.predict)) if isinstance(result, Learner) else result

    return checked


def check_record(record: Any) -> None:
    """Check the fields of a frozen dataclass by their annotations, in its `__post_init__`.

    Args:
      record: instance of a dataclass, such as an optimizer or a data set of a page.
    """
    hints = get_type_hints(type(record), include_extras=True)
    _check(hints, vars(record))
    for name, hint in hints.items():
        for check in filter(isfunction, getattr(hint, "__metadata__", ())):
            if getattr(record, name) is not None:
                check(getattr(record, name))


class CheckedRecord:
    """A base of frozen dataclasses whose fields are checked by their annotations when one is made."""

    def __post_init__(self) -> None:
        check_record(self)


def _of_batches(predict: Callable[[Any, Batch], Any]) -> Callable[[Any, Batch], Any]:
    """Return `predict`, which says what a batch is where it is given an array in place of one."""

    @functools.wraps(predict)
    def explained(state: Any, batch: Batch) -> Any:
        try:
            return predict(state, batch)
        except (IndexError, TypeError) as error:
            if not isinstance(batch, np.ndarray | jax.Array):
                raise
            allowed = "a dict of arrays, as {'image': [B, H, W, C], 'index': [B]}"
            raise ValueError(f"batch: an array {list(batch.shape)}; allowed: {allowed}") from error

    return explained


def _check(hints: dict[str, Any], values: dict[str, Any]) -> None:
    for name, value in values.items():
        hint: Any = hints.get(name)
        for option in _options(hint):
            for limits in getattr(option, "__metadata__", ()):
                if isinstance(limits, Range):
                    check_range(name, value, limits)
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        check_kind(name, value, hint)
        if get_origin(hint) is Literal:
            check_choice(name, value, hint)
        if _is_instance_hint(hint) and (isinstance(value, type) or isfunction(value)) and not isinstance(value, hint):
            kind = "class" if isinstance(value, type) else "function"
            raise ValueError(f"{name}={value.__name__}: a {kind}; allowed: a {hint.__name__}, as {value.__name__}(...)")
        classes = tuple(option for option in _options(hint) if option is not type(None))
        is_data = isinstance(value, str | Real | list | dict) and all(map(_is_instance_hint, classes))
        if is_data and not isinstance(value, classes) and not issubclass(classes[0], str | Real | jax.Array):
            found = "word" if isinstance(value, str) else "number" if isinstance(value, Real) else type(value).__name__
            kind = classes[0].__name__
            raise ValueError(f"{name}={value!r}: a {found}; allowed: a {kind}{EXAMPLES.get(kind, '')}")
        if is_record(hint):
            if not isinstance(value, hint):
                raise ValueError(f"{name}={value!r}: no {hint.__name__}; allowed: {hint.__name__}(...)")
            _check(get_type_hints(hint, include_extras=True), hint._asdict(value))


def _options(hint: Any) -> tuple[Any, ...]:
    """Return what a value may be: `int | None` is two options."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def check_kind(name: str, value: Any, hint: Any) -> None:
    """Refuse what is no bool, whole number or finite number where one is due; arrays pass.

    A word would be a bool that is true, and a fraction would be cut off or fail late.

    Args:
      name: name of the argument, for the error.
      value: what was given.
      hint: annotation of the argument.
    """
    options = [get_args(option)[0] if get_origin(option) is Annotated else option for option in _options(hint)]
    if isinstance(value, np.ndarray | jax.Array) or (value is None and type(None) in options):
        return
    kinds = {*options} - {type(None)}
    if kinds == {bool} and not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name}={value!r}: no bool; allowed: True, False")
    if kinds == {int}:
        check_whole_number(name, value)
    if kinds == {float} and not (isinstance(value, Real) and math.isfinite(value)):
        raise ValueError(f"{name}={value!r}: no finite number; allowed: finite numbers")


def _is_instance_hint(hint: Any) -> bool:
    """Say whether an annotation is a class of which an argument must be an instance; Any and protocols are none."""
    return isinstance(hint, type) and hint is not Any and not getattr(hint, "_is_protocol", False)


def is_record(hint: Any) -> bool:
    """Say whether a parameter's type is a record: a NamedTuple whose fields are parameters that belong together.

    Args:
      hint: annotation of a parameter.

    Returns:
      Whether it is a NamedTuple and every field has a default.
    """
    fields = getattr(hint, "_fields", ()) if isinstance(hint, type) and issubclass(hint, tuple) else ()
    return bool(fields) and set(fields) == set(getattr(hint, "_field_defaults", ()))


def check_range(name: str, value: Any, limits: Range) -> None:
    """Refuse a number outside its limits.

    Args:
      name: name of the argument, for the error.
      value: a number, a scalar array, or a tuple of them; traced numbers, arrays of more than one and None pass.
      limits: limits of the number.
    """
    high = "" if limits.high == np.inf else f", at most {limits.high:g}"
    if isinstance(value, str | bytes):
        raise ValueError(f"{name}={value!r}: no number; allowed: at least {limits.low:g}{high}")
    if isinstance(value, tuple | list):
        for i, part in enumerate(value):
            check_range(f"{name}[{i}]", part, limits)
    if isinstance(value, np.ndarray | jax.Array) and value.ndim == 0 and not isinstance(value, jax.core.Tracer):
        value = value.item()
    if isinstance(value, Real) and not limits.low <= value <= limits.high:  # pyright: ignore[reportOperatorIssue]
        raise ValueError(f"{name}={value}: out of range; allowed: at least {limits.low:g}{high}")


def root_key(seed: int) -> jax.Array:
    """Make the random key that a training begins with.

    It is a threefry key whatever `jax_default_prng_impl` says: under vmap, rbg draws for all keys from the first one,
    so that results would depend on the batch size.

    Args:
      seed: from 0 to 2^32 - 1, what a key tells apart.

    Returns:
      [] key.
    """
    if isinstance(seed, jax.core.Tracer):
        return jax.random.key(seed, impl="threefry2x32")
    allowed = f"allowed: integers from 0 to {MOST_SEED}"
    is_integer = isinstance(seed, Integral) or np.issubdtype(getattr(seed, "dtype", object), np.integer)
    if not is_integer or np.ndim(seed):
        raise ValueError(f"seed={seed!r}: no integer; {allowed}")
    if not 0 <= int(seed) <= MOST_SEED:
        raise ValueError(f"seed={seed}: out of range; {allowed}")
    return jax.random.key(int(seed), impl="threefry2x32")


class Metric(struct.PyTreeNode):
    """A measure that adds up: `merge` joins two parts, `compute` reads the result on the host.

    Leaves are int32 counts and float32 sums on the device; `fit` folds them into int64 and float64 on the host, so
    the result is exact whatever the batch split. Subclasses whose leaves add need only `compute`. A count of one step
    must fit into int32; with the inherited `merge` the count of many steps may be larger.
    """

    def merge(self, other: Self) -> Self:
        """Join with a later part.

        Args:
          other: the later part.

        Returns:
          The metric of both.
        """
        return jax.tree.map(lambda a, b: a + b, self, other)

    def collapse(self) -> Self:
        """Join the parts that lie along a leading axis (the replicas of pmap).

        Returns:
          The metric of all.
        """
        return jax.tree.map(lambda a: a.sum(0), self)

    def empty(self) -> Self:
        """Make the neutral element of `merge`.

        Returns:
          A metric of this one's shapes and dtypes.
        """
        return jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), self)

    def finite(self) -> jax.Array:
        """Check for NaN and infinity.

        Returns:
          [] bool, whether no leaf holds one.
        """
        leaves = [x for x in jax.tree.leaves(self) if jnp.issubdtype(x.dtype, jnp.inexact)]
        return jnp.all(jnp.array([jnp.isfinite(x).all() for x in leaves] or True))

    def compute(self) -> Any:
        """Read the value on the host.

        Returns:
          The value, or None where nothing was counted; a dict gives several named values.

        Raises:
          TypeError: the subclass does not say how.
        """
        raise TypeError(f"{type(self).__name__} does not say how to compute its value")


class Sum(Metric):
    """A mean, total / count, None where the count is zero; without a count the plain sum.

    Args:
      total: sum, array of any shape.
      count: [] int32, or None.
    """

    total: jax.Array
    count: jax.Array | None = None

    @classmethod
    def of(cls, values: jax.Array, mask: jax.Array | None = None) -> Self:
        """Average over the examples of a batch.

        Args:
          values: [B, ...].
          mask: [B], or of the shape of `values`, set where one counts; NaN elsewhere is ignored. None: all count.

        Returns:
          The metric.

        Raises:
          ValueError: there are more values than int32 counts, or `mask` has another shape.
        """
        values = jnp.asarray(values)
        keep = value_mask(mask, values.shape)
        if jnp.issubdtype(values.dtype, jnp.floating):
            dtype = jnp.promote_types(values.dtype, jnp.float32)
        else:
            dtype = jnp.int32
        return cls(jnp.where(keep, values, 0).sum(dtype=dtype), keep.sum(dtype=jnp.int32))

    def compute(self) -> Any:
        if self.count is None:
            return np.asarray(self.total)[()]
        return None if self.count == 0 else float(self.total / self.count)


class Max(Metric):
    """The largest value seen.

    Args:
      value: array of any shape; the maximum is taken elementwise.
    """

    value: jax.Array | np.ndarray

    def merge(self, other: Self) -> Self:
        maximum = np.maximum if isinstance(other.value, np.ndarray | np.generic) else jnp.maximum
        return type(self)(maximum(self.value, other.value))

    def collapse(self) -> Self:
        return type(self)(self.value.max(0))

    def empty(self) -> Self:
        return type(self)(jnp.full(self.value.shape, _lowest(self.value.dtype), self.value.dtype))

    def finite(self) -> jax.Array:
        return jnp.all(jnp.isfinite(self.value) | (self.value == _lowest(self.value.dtype)))

    def compute(self) -> Any:
        value = np.asarray(self.value)
        lowest = -np.inf if np.issubdtype(value.dtype, np.floating) else np.iinfo(np.int32).min
        return None if (value <= lowest).all() else value[()]


class Last(Metric):
    """The value of the latest step (a learning rate, a temperature).

    Args:
      value: array of any shape.
    """

    value: jax.Array

    def merge(self, other: Self) -> Self:
        return other

    def collapse(self) -> Self:
        return type(self)(self.value[-1])

    def compute(self) -> Any:
        return np.asarray(self.value)[()]


def _lowest(dtype) -> Any:
    return -jnp.inf if jnp.issubdtype(dtype, jnp.inexact) else jnp.iinfo(dtype).min


def check_countable(shape: tuple[int, ...]) -> None:
    """Check that one step's values can be counted in int32.

    Args:
      shape: shape of the values.
    """
    if math.prod(shape) >= 2**31:
        raise ValueError(f"values={shape}: {math.prod(shape):,} in one step; allowed: fewer than 2^31, a smaller batch")


def value_mask(mask: jax.Array | None, shape: tuple[int, ...]) -> jax.Array:
    """Return which values count: the one rule for the `mask` of all metrics.

    Args:
      mask: [B], or of the shape of the values; 0 does not count. None counts all.
      shape: [B, ...], shape of the values.

    Returns:
      Bool, of that shape.
    """
    check_countable(shape)
    if mask is None:
        return jnp.ones(shape, bool)
    if mask.shape not in (shape, shape[:1]):
        allowed = " or ".join(map(str, dict.fromkeys((shape[:1], shape))))
        raise ValueError(f"mask={mask.shape}: wrong shape; allowed: {allowed}")
    if not isinstance(mask, jax.core.Tracer) and not (least := np.min(np.asarray(mask), initial=0)) >= 0:
        raise ValueError(f"mask={least:g}: no mask; allowed: 0 for what does not count, 1 for what does")
    return jnp.broadcast_to(mask.reshape(mask.shape + (1,) * (len(shape) - mask.ndim)) > 0, shape)


def mask_of(batch: dict) -> jax.Array:
    """Read the mask of a batch.

    Args:
      batch: batch with `index`, and `mask` where it was padded.

    Returns:
      [B] float32, 1 for an example and 0 for padding; all ones where the batch carries none.
    """
    if "mask" in batch:
        return batch["mask"].astype(jnp.float32)
    return jnp.ones(batch["index"].shape, jnp.float32)


def example_keys(rng: jax.Array, batch: dict) -> jax.Array:
    """Derive a key for each example from its index alone: the same on any mesh and in any batch.

    Args:
      rng: a root key.
      batch: batch with `index: [B]`.

    Returns:
      [B] keys.
    """
    return jax.vmap(lambda i: jax.random.fold_in(rng, i))(batch["index"])


def check_learner(learner: Any) -> None:
    """Check that an argument is a learner.

    Args:
      learner: a learner.
    """
    if not hasattr(learner, "update") or not hasattr(learner, "predict"):
        allowed = "a Learner, such as supervised.learner(model=..., optimizer=...)"
        raise ValueError(f"learner={type(learner).__name__}: no learner; allowed: {allowed}")
