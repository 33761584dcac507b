"""The program of a flax module, with every equation assigned to the module call that it belongs to.

Calls are recorded by `nn.intercept_methods` while the program is traced. Each marks its equations by a named scope, and
its results by an equation of their own (`checkpoint_name`); the walk over the jaxpr, and over those inside it, reads
both. So nothing is computed, and no layer is known by its class. Of a `scan` every equation counts as often as it is
long, of a `while` once, of a `cond` the most expensive branch: for a choice by platform that is lax's own convolution.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from dlcore.cost import receptive_field
from dlcore.cost.receptive_field import Field
from dlcore.diagnostics.jaxpr import inner_jaxpr, propagate, scan_counts
from dlcore.learner import root_key

__all__ = ["Call", "Event", "abstract_variables", "mac_count", "program_of", "size_in_bytes", "split_arguments"]

MARK = re.compile(r"<call (\d+)>")


class Call(NamedTuple):
    """A call of a module.

    Args:
      path: path of names, () for the outermost.
      kind: the module's class.
      parent: the number of the call that made it; None for the outermost.
      input_bytes: bytes of its arrays.
    """

    path: tuple[str, ...]
    kind: str
    parent: int | None
    input_bytes: int


class Event(NamedTuple):
    """What an equation adds to its call.

    Args:
      call: number of the call.
      name: "output" of a call that makes no other calls, "product", or, in a call that does, a function of
        `dlcore.ops`.
      shape: shape of the equation's result.
      times: how often it runs, which `macs` and bytes count already.
      macs: multiply-adds.
      input_bytes: bytes of its operands.
      output_bytes: bytes of its results.
      field: receptive field of its result (`dlcore.cost.receptive_field`).
    """

    call: int
    name: str
    shape: tuple[int, ...]
    times: int
    macs: int
    input_bytes: int
    output_bytes: int
    field: Field


def program_of(
    model: nn.Module, variables: Any, x: jax.ShapeDtypeStruct, *args: Any, **kwargs: Any
) -> tuple[list[Call], list[Event]]:
    """Trace `model.apply(variables, x, *args, **kwargs)`.

    Args:
      model: a flax module.
      variables: variables of the model, abstract or not.
      x: shape and dtype of the model's first argument.
      *args: further arguments of the model.
      **kwargs: keyword arguments of the model.

    Returns:
      (calls of modules, events), each in the order of the program.
    """
    calls: list[Call] = []
    arrays, rebuild = split_arguments(args, kwargs)

    def run(variables: Any, arrays: dict, x: jax.Array) -> Any:
        rest, named = rebuild(arrays)
        with nn.intercept_methods(_recorder(calls)):
            return model.apply(variables, x, *rest, **named, rngs={"dropout": root_key(0)})

    jaxpr = jax.make_jaxpr(run)(variables, arrays, x).jaxpr
    walk = _Walk(calls)
    walk.through(jaxpr, [*[{}] * (len(jaxpr.invars) - 1), receptive_field.of_image(x.shape)], call=0, times=1)
    return calls, walk.events


def split_arguments(args: tuple, kwargs: dict) -> tuple[dict[int, Any], Callable[[dict], tuple[tuple, dict]]]:
    """Separate the arrays among a model's arguments, which are traced, from the others.

    Args:
      args: arguments of the model.
      kwargs: keyword arguments of the model.

    Returns:
      ({number of a leaf: its shape and dtype}, arrays by number -> (args, kwargs)).
    """
    leaves, tree = jax.tree.flatten((args, kwargs))
    arrays = {i: jax.ShapeDtypeStruct(a.shape, a.dtype) for i, a in enumerate(leaves) if hasattr(a, "dtype")}
    return arrays, lambda traced: jax.tree.unflatten(tree, [traced.get(i, leaf) for i, leaf in enumerate(leaves)])


def abstract_variables(model: nn.Module, x: jax.ShapeDtypeStruct, args: tuple, kwargs: dict) -> Any:
    """Shapes and dtypes of a model's variables.

    Args:
      model: a flax module.
      x: shape and dtype of its first argument.
      args: further arguments.
      kwargs: keyword arguments.

    Returns:
      The variables, of ShapeDtypeStructs.
    """
    arrays, rebuild = split_arguments(args, kwargs)

    def init(x: jax.Array, arrays: dict) -> Any:
        rest, named = rebuild(arrays)
        return model.init({name: root_key(0) for name in ("params", "dropout")}, x, *rest, **named)

    return jax.eval_shape(init, x, arrays)


def mac_count(eqn: Any) -> int:
    """Multiply-adds of one equation of a jaxpr.

    Args:
      eqn: the equation.

    Returns:
      The number; 0 unless it is a convolution or a product.
    """
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return math.prod(eqn.outvars[0].aval.shape) * math.prod(eqn.invars[0].aval.shape[a] for a in contracted)
    if eqn.primitive.name == "conv_general_dilated":
        x, kernel, y = (v.aval.shape for v in (*eqn.invars, *eqn.outvars))
        numbers = eqn.params["dimension_numbers"]
        # Of a transposed convolution each pixel meets each tap, with no zeros between.
        if any(dilation > 1 for dilation in eqn.params["lhs_dilation"]):
            return math.prod(kernel) * math.prod(x) // x[numbers.lhs_spec[1]]
        return math.prod(y) * math.prod(kernel) // kernel[numbers.rhs_spec[0]]
    return 0


def _recorder(calls: list[Call]) -> Any:
    """Return an interceptor that lists the calls of modules and marks what each does and returns."""
    running: list[int] = []

    def record(call: Any, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        path = context.module.path
        if running and calls[running[-1]].path == path:  # one method of a module calls another
            return call(*args, **kwargs)
        mark = f"<call {len(calls)}>"
        arrays = [a for a in jax.tree.leaves((args, kwargs)) if isinstance(a, jax.Array)]
        parent = running[-1] if running else None
        running.append(len(calls))
        calls.append(Call(path, type(context.module).__name__, parent, sum(map(size_in_bytes, arrays))))
        try:
            with jax.named_scope(mark):
                out = call(*args, **kwargs)
        finally:
            running.pop()
        return jax.tree.map(lambda a: checkpoint_name(a, mark) if isinstance(a, jax.Array) else a, out)

    return record


class _Walk:
    """Goes through a jaxpr and those inside it, and lists the events."""

    def __init__(self, calls: list[Call]):
        self.events: list[Event] = []
        self.outer = {call.parent for call in calls}  # calls that have calls inside
        self.working: set[int] = set()  # calls with equations of their own: dropout, where nothing is dropped, has none

    def through(self, jaxpr: Any, fields: Sequence[Field], call: int, times: int) -> list[Field]:
        """Return the fields of the results, where `fields` are those of the arguments."""

        def rule(eqn: Any, fields: list[Field]) -> list[Field]:
            marks = MARK.findall(str(eqn.source_info.name_stack))
            return self._equation(eqn, fields, int(marks[-1]) if marks else call, times)

        return propagate(jaxpr, fields, rule)

    def _equation(self, eqn: Any, fields: list[Field], call: int, times: int) -> list[Field]:
        name, p = eqn.primitive.name, eqn.params
        if name == "cond":
            return self._dearest(p["branches"], fields[1:], call, times)
        if name == "scan":
            constants, carry = scan_counts(eqn)
            fields = [f if i < constants else _loose(f, i < constants + carry) for i, f in enumerate(fields)]
            results = self.through(p["jaxpr"].jaxpr, fields, call, times * p["length"])
            return [_loose(f) for f in results]
        if name == "while":
            constants, fields = p["body_nconsts"], fields[p["cond_nconsts"] :]
            fields = [f if i < constants else _loose(f, True) for i, f in enumerate(fields)]
            return [_loose(f) for f in self.through(p["body_jaxpr"].jaxpr, fields, call, times)]
        inner = inner_jaxpr(eqn)
        if inner is not None:
            return self.through(inner.jaxpr, fields, call, times)
        results = receptive_field.after(eqn, fields)
        macs = 0 if None in fields else mac_count(eqn)
        mark = MARK.fullmatch(p["name"]) if name == "name" else None
        if mark:
            call, leaf = int(mark[1]), int(mark[1]) in self.working - self.outer
            what = "output" if leaf else None
        else:
            self.working.add(call)
            what = "product" if macs else _operation(eqn) if call in self.outer else None
        if what:
            read, output_bytes = (times * sum(map(size_in_bytes, side)) for side in (eqn.invars, eqn.outvars))
            shape = eqn.outvars[0].aval.shape
            self.events.append(Event(call, what, shape, times, times * macs, read, output_bytes, results[0]))
        return results

    def _dearest(self, branches: Sequence[Any], fields: list[Field], call: int, times: int) -> list[Field]:
        """Take the branch with most multiply-adds, the last of equals: of a choice by platform, lax's own form."""
        before, most = self.events, (-1, [], [])
        for branch in branches:
            self.events = []
            results = self.through(branch.jaxpr, fields, call, times)
            macs = sum(event.macs for event in self.events)
            most = (macs, self.events, results) if macs >= most[0] else most
        self.events = before + most[1]
        return most[2]


def _loose(field: Field, carry: bool = False) -> Field:
    """What holds of `field` in every turn of a loop: the axes that it comes from. A carry is no constant."""
    if field is None:
        return {} if carry else None
    return dict.fromkeys(field, receptive_field.ANYWHERE)


def _operation(eqn: Any) -> str | None:
    """Return the function of `dlcore.ops` that the model called for this equation, by the equation's traceback."""
    traceback = eqn.source_info.traceback
    for frame in reversed(traceback.frames if traceback else ()):
        if "/dlcore/ops/" in frame.file_name.replace("\\", "/"):
            return None if frame.function_name.startswith("_") else frame.function_name
    return None


def size_in_bytes(value: Any) -> int:
    """Size of a value in bytes.

    Args:
      value: an array, a tracer or a jaxpr's variable.

    Returns:
      Bytes; 0 for random keys.
    """
    aval = getattr(value, "aval", value)
    return math.prod(aval.shape) * getattr(aval.dtype, "itemsize", 0)
