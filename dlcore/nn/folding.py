"""Merge every batch norm of a network into the convolution or dense layer before it, for use.

    y = (K * x + b) a + c   =   (a K) * x + (a b + c)        a = gamma / sqrt(var + eps),  c = beta - mean a

`fold_batch_norm` merges one pair; here the pairs of a whole function are found while it runs: a batch norm that uses
running statistics, and whose input is the very output of a convolution or dense layer. Both must be called once, with
concrete values. A layer whose output also goes elsewhere must not be merged, which calls do not show: compare the
results of both functions, as `--mode=export --fold_batch_norm` does.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from flax import linen as nn

from dlcore.nn.conv import Conv
from dlcore.nn.dense import Dense
from dlcore.nn.normalization import BatchNorm, fold_batch_norm

__all__ = ["Fold", "apply_folds", "find_folds"]

LAYERS = (nn.Conv, nn.Dense, Conv, Dense)
"""Layers that are merged; a subclass may use its kernel in another way."""


class Fold(NamedTuple):
    """A layer that includes the batch norm behind it.

    Args:
      norm: path of the batch norm.
      kernel: [..., C] of the merged layer.
      bias: [C] of the merged layer.
    """

    norm: str
    kernel: jax.Array
    bias: jax.Array


def find_folds(function: Callable[[], Any]) -> dict[str, Fold]:
    """Run a function of flax modules, and merge the batch norms that it applies with the layers before them.

    Args:
      function: calls modules on concrete arrays, outside of jit.

    Returns:
      {path of a layer, such as "block1/conv1": its fold}.
    """
    layers, calls, folds = {}, {}, {}

    def intercept(next_call, args, kwargs, context):
        module, path = context.module, _path(context)
        if not path or not (type(module) in LAYERS or isinstance(module, BatchNorm)):
            return next_call(*args, **kwargs)
        calls[path] = calls.get(path, 0) + 1
        output = next_call(*args, **kwargs)
        if isinstance(output, jax.core.Tracer):
            return output
        if not isinstance(module, BatchNorm):
            layers[id(output)] = (path, module.variables["params"], output)  # held, so that no other array has its id
            return output
        before = layers.get(id(args[0]) if args else None)
        uses_running = kwargs.get("use_running_average", args[1] if len(args) > 1 else None)
        if before is not None and (module.use_running_average or uses_running):
            statistics = module.variables["batch_stats"]
            merged = fold_batch_norm(before[1], module.variables.get("params", {}), statistics, module.epsilon)
            folds[before[0]] = Fold(path, **merged)
        return output

    with nn.intercept_methods(intercept):
        function()
    return {path: fold for path, fold in folds.items() if calls[path] == calls[fold.norm] == 1}


def apply_folds(function: Callable[..., Any], folds: Mapping[str, Fold]) -> Callable[..., Any]:
    """Put merged layers in place of the layers and the batch norms behind them.

    Args:
      function: calls modules; may be traced.
      folds: folds from `find_folds`.

    Returns:
      A function of the same arguments.
    """
    norms = {fold.norm for fold in folds.values()}

    def intercept(next_call, args, kwargs, context):
        path = _path(context)
        if path in norms:
            return args[0]
        if path not in folds:
            return next_call(*args, **kwargs)
        layer = context.module.clone(use_bias=True, parent=None, name=None)
        return layer.apply({"params": {"kernel": folds[path].kernel, "bias": folds[path].bias}}, *args, **kwargs)

    def folded(*args, **kwargs):
        with nn.intercept_methods(intercept):
            return function(*args, **kwargs)

    return folded


def _path(context: nn.module.InterceptorContext) -> str:
    """The module's path where its `__call__` is called; empty elsewhere, and of a module that is no other's part."""
    return "/".join(context.module.path) if context.method_name == "__call__" else ""
