"""What a network costs, layer by layer, from shapes alone: parameters, multiply-adds, activations, receptive fields.

    MACs of a convolution    N H' W' C' (C / groups) K K          each output element: one product a tap and channel
    MACs of a product        B M N K                              dense layers, attention's Q K^T and A V
    FLOPs                    2 MACs
    activation bytes         elements of the output times bytes an element

"FLOPs" of papers and of torchvision's tables are MACs: a multiplication and an addition are one. Here both are
said (Sze, Chen, Yang & Emer 2017, arXiv:1703.09039).
Counted are convolutions and matrix products in the program that runs (a jaxpr), wherever they are written: in flax's
layers, in a function, in an einsum. Elementwise work, normalization, pooling and products with constants (averaging,
resampling) count 0. Zeros of a padding count as pixels, zeros that a transposed convolution puts between pixels do
not. Loops count their turns, a `while` one (`dlcore.cost.module_program`).

With this rule every figure that was compared with torchvision's is the same to its three digits, 1.498 of GoogLeNet
(whose auxiliary heads do not run) to 17.564 of ViT-B/16: the two products of attention are in torchvision's
figures of transformers, for ViT-B/16 0.715 of them.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.cost.module_program import Call, Event, abstract_variables, program_of, size_in_bytes
from dlcore.cost.receptive_field import Field

__all__ = ["Layer", "Total", "fold", "layer_costs", "merge_layers", "total"]


class Layer(NamedTuple):
    """Costs of one call of a module without modules inside; or of a product, a pooling or parameters outside of such
    modules.

    Args:
      path: path of flax modules, a/b/c.
      kind: the module's class, "product", "parameter", "not run", "block", or the function of `dlcore.ops`.
      output_shape: output shape with the batch; () for parameters.
      parameters: how many.
      parameter_bytes: their size.
      macs: multiply-adds of all examples.
      input_bytes: bytes of all examples.
      output_bytes: bytes of the outputs of all examples.
      receptive_field: pixels of the image along each spatial axis, inf where all of it may be seen; None where the
        output has no such axes.
      stride: pixels of the image between two neighboring outputs along each spatial axis; None as above.
    """

    path: str
    kind: str
    output_shape: tuple[int, ...] = ()
    parameters: int = 0
    parameter_bytes: int = 0
    macs: int = 0
    input_bytes: int = 0
    output_bytes: int = 0
    receptive_field: tuple[float, ...] | None = None
    stride: tuple[float, ...] | None = None

    @property
    def flops(self) -> int:
        """2 MACs."""
        return 2 * self.macs


class Total(NamedTuple):
    """Sums over layers.

    Args:
      parameters: how many.
      macs: multiply-adds.
      activation_bytes: all outputs together, the most that a backward pass would store.
    """

    parameters: int
    macs: int
    activation_bytes: int

    @property
    def flops(self) -> int:
        """2 MACs."""
        return 2 * self.macs


def layer_costs(model: nn.Module, x: jax.ShapeDtypeStruct, *args: Any, **kwargs: Any) -> list[Layer]:
    """Count the costs of a model layer by layer, from shapes alone.

    Args:
      model: a flax module.
      x: [B, ..., C], the model's first argument, an array or its shape and dtype; receptive fields are counted along
        the axes between.
      *args: further arguments of the model, of which arrays may be shapes and dtypes too.
      **kwargs: keyword arguments of the model, likewise.

    Returns:
      The layers in the order in which they run; modules that do not run come last, one row a parameter, as "not run".
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"model={model!r}: no flax module; allowed: one with its fields, such as nn.Dense(2)")
    if not hasattr(x, "shape") or not hasattr(x, "dtype"):
        raise ValueError(f"x={x!r}: no array; allowed: jax.ShapeDtypeStruct(shape, dtype), or an array")
    x = jax.ShapeDtypeStruct(x.shape, x.dtype)
    variables = abstract_variables(model, x, args, kwargs)
    calls, events = program_of(model, variables, x, *args, **kwargs)
    return list(_layers(calls, events, variables.get("params", {}), range(1, len(x.shape) - 1)))


def total(layers: Sequence[Layer]) -> Total:
    """Sum the costs of layers.

    Args:
      layers: such as `layer_costs` gives.

    Returns:
      The sums.
    """
    return Total(*(sum(getattr(layer, f) for layer in layers) for f in ("parameters", "macs", "output_bytes")))


def fold(layers: Sequence[Layer], depth: int) -> list[list[Layer]]:
    """Group consecutive layers that are below the same module.

    Args:
      layers: layers, in the order in which they run.
      depth: how many names of the path the layers of a group share; layers with no more names stay alone.

    Returns:
      The groups, in the same order.
    """
    check_whole_number("depth", depth, 1)

    def block(numbered: tuple[int, Layer]) -> tuple:
        names = numbered[1].path.split("/")
        return ("/".join(names[:depth]), numbered[0] if len(names) <= depth else -1)

    return [[layer for _, layer in group] for _, group in itertools.groupby(enumerate(layers), block)]


def merge_layers(layers: Sequence[Layer], path: str) -> Layer:
    """Merge consecutive layers into one row.

    Args:
      layers: layers, at least one.
      path: path of the row.

    Returns:
      Their sums, with the shape and the stride of the last that has an output, and the largest receptive field: the
        last may be a shortcut, which sees less of the image than the branch that it is added to.
    """
    if not layers:
        raise ValueError("layers=[]: none; allowed: at least one")
    if len(layers) == 1:
        return layers[0]._replace(path=path)
    last = next((layer for layer in reversed(layers) if layer.output_shape), layers[-1])
    sums = {f: sum(getattr(layer, f) for layer in layers) for f in ADDITIVE}
    fields = [layer.receptive_field for layer in layers if layer.receptive_field is not None]
    field = max(fields) if last.receptive_field is not None else None
    return last._replace(path=path, kind="block", receptive_field=field, **sums)


ADDITIVE = ("parameters", "parameter_bytes", "macs", "input_bytes", "output_bytes")


def _layers(calls: list[Call], events: list[Event], params: Any, axes: Sequence[int]) -> Iterator[Layer]:
    outer = {call.parent for call in calls}  # calls with calls inside
    parameters_of = _owners({call.path for i, call in enumerate(calls) if i not in outer}, params)

    def layer(numbered: tuple[int, Event]) -> tuple:
        i, event = numbered
        return (event.call,) if event.call not in outer else (event.call, event.name, i * (event.name == "product"))

    for key, numbered in itertools.groupby(enumerate(events), layer):
        run, call = [event for _, event in numbered], calls[key[0]]
        path, kind, read, run_events = "/".join(call.path), call.kind, call.input_bytes * run[0].times, run
        for n in range(len(call.path) + (len(key) > 1)):  # what the modules around it hold themselves
            yield from (_parameter(name, leaf, "parameter") for name, leaf in parameters_of.pop(call.path[:n], []))
        leaves = []
        if len(key) == 1:
            leaves = [leaf for _, leaf in parameters_of.pop(call.path, [])]
            run_events = [event for event in run if event.name == "output"]
        else:
            path, kind, read, run_events = f"{path}/{key[1]}".lstrip("/"), key[1], run[0].input_bytes, run[-1:]
        largest = max(run_events, key=lambda event: math.prod(event.shape))
        yield Layer(
            path,
            kind,
            largest.shape,
            sum(math.prod(leaf.shape) for leaf in leaves),
            sum(map(size_in_bytes, leaves)),
            sum(event.macs for event in run),
            read,
            sum(event.output_bytes for event in run_events),
            *_window(largest.field, axes),
        )
    called = {call.path for call in calls}  # one that only holds parameters for another has no work of its own
    for path, leaves in parameters_of.items():
        kind = "parameter" if path in called else "not run"
        yield from (_parameter(name, leaf, kind) for name, leaf in leaves)


def _owners(leaves: set[tuple[str, ...]], params: Any) -> dict[tuple[str, ...], list[tuple[str, Any]]]:
    """{path of a module: its parameters, by name}: those below one of `leaves` are its own."""
    parameters_of: dict[tuple[str, ...], list[tuple[str, Any]]] = {}
    for keys, leaf in jax.tree.leaves_with_path(params):
        names = tuple(str(key.key) for key in keys)
        path = next((names[:n] for n in range(len(names)) if names[:n] in leaves), names[:-1])
        parameters_of.setdefault(path, []).append(("/".join(names), leaf))
    return parameters_of


def _parameter(name: str, leaf: Any, kind: str) -> Layer:
    return Layer(name, kind, (), math.prod(leaf.shape), size_in_bytes(leaf))


def _window(field: Field, axes: Sequence[int]) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Receptive field and stride along the image's `axes`, None unless an axis of the array runs along each."""
    spans = [span for axis in axes if (span := (field or {}).get(axis)) is not None and len(span.steps) == 1]
    if not spans or len(spans) < len(axes):
        return None, None
    return tuple(_pixels(s.high - s.low) for s in spans), tuple(float(*s.steps.values()) for s in spans)


def _pixels(reach: float) -> float:
    """Return how many pixels fit: after a transposed convolution the ends may lie between pixels."""
    return reach if math.isinf(reach) else math.floor(reach) + 1.0
