"""A network of which only parts learn: the rest gives features as in use, and no gradient is computed for it.

Yosinski et al. 2014, arXiv:1411.1792. Frozen means three things here:

    parameters     no gradient reaches them: where the first layers are frozen, the backward pass ends above them
    statistics     batch norm uses the running ones and leaves them as they are
    dropout        off

A part that starts to learn later (`Part.start`) has its gradients from the first step, since what is computed cannot
change without a compilation; its optimizer ignores them until then, and its batch norm keeps the running statistics to
the end, as is usual when few images are at hand.
"""

import dataclasses
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax
from flax import linen as nn

from dlcore.optim.partial import Part, part_of

__all__ = ["Frozen", "PartlyFrozen", "call_in_use", "is_named"]

SWITCHES = ("use_running_average", "deterministic")
"""Fields of layers that differ between training and use, by which flax's modules and ours switch."""


class _InUse:
    """A model of which the layers that are not trained run as in evaluation."""

    model: nn.Module

    def _is_trained(self, path: str) -> bool:
        """Whether the module of this path runs as in training."""
        raise NotImplementedError

    def init(self, *args: Any, **kwargs: Any) -> Any:
        """Initialize the network.

        Args:
          *args: arguments of the model's `init`.
          **kwargs: keyword arguments of the model's `init`.

        Returns:
          Its variables.
        """
        return self.model.init(*args, **kwargs)

    def apply(self, variables: Any, *args: Any, **kwargs: Any) -> Any:
        """Apply the network with its frozen parts as in use.

        Args:
          variables: variables of the model.
          *args: arguments of the model's `apply`.
          **kwargs: keyword arguments of the model's `apply`.

        Returns:
          What the model's `apply` returns.
        """
        with nn.intercept_methods(self._in_use):
            return self.model.apply(variables, *args, **kwargs)

    def _in_use(self, call: Any, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        if self._is_trained("/".join(context.module.path)):
            return call(*args, **kwargs)
        return call_in_use(call, args, kwargs, context)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "model"), name)


@dataclasses.dataclass(frozen=True)
class PartlyFrozen(_InUse):
    """A model with frozen parts, for any learner that calls `init` and `apply`.

    Args:
      model: the network.
      parts: parts that learn; what they do not name, or name with a rate of 0, is frozen.
    """

    model: nn.Module
    parts: Sequence[Part]

    def apply(self, variables: Any, *args: Any, **kwargs: Any) -> Any:
        """Apply the network with its frozen parts as in use; no gradient reaches them.

        Args:
          variables: variables of the model.
          *args: arguments of the model's `apply`.
          **kwargs: keyword arguments of the model's `apply`.

        Returns:
          What the model's `apply` returns.
        """

        def cut(path: tuple, leaf: jax.Array) -> jax.Array:
            part = part_of(jax.tree_util.keystr(path, simple=True, separator="/"), self.parts)
            return jax.lax.stop_gradient(leaf) if part is None or part.rate == 0 else leaf

        params = jax.tree_util.tree_map_with_path(cut, variables["params"])
        return super().apply({**variables, "params": params}, *args, **kwargs)

    def _is_trained(self, path: str) -> bool:
        """Whether the module learns from the start."""
        part = part_of(path, self.parts)
        return part is not None and bool(part.rate) and not part.start


@dataclasses.dataclass(frozen=True)
class Frozen(_InUse):
    """A model whose layers run as in evaluation, and whose parameters learn where a gradient is asked for them.

    Args:
      model: the network.
      trained: patterns of modules that run as in training, such as "head*", see `is_named`.
    """

    model: nn.Module
    trained: Sequence[str] = ()

    def _is_trained(self, path: str) -> bool:
        return is_named(path, self.trained)


def is_named(path: str, patterns: Sequence[str]) -> bool:
    """Find out whether one of several patterns names a module or a parameter.

    Args:
      path: its path, such as "backbone/norm/scale".
      patterns: shell patterns; `*` also matches `/`, and one that begins with `!` names what the rest of it does not.

    Returns:
      Whether one does.
    """
    if isinstance(patterns, str):
        raise ValueError(f"patterns={patterns!r}: one string; allowed: a tuple of patterns")
    return any(fnmatchcase(path, pattern.removeprefix("!")) != pattern.startswith("!") for pattern in patterns)


def call_in_use(call: Any, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
    """Call a layer as in evaluation, for `flax.linen.intercept_methods`.

    Args:
      call: the layer's method.
      args: its arguments.
      kwargs: its keyword arguments.
      context: the layer and the method's name.

    Returns:
      What the layer returns: batch norm with the running statistics, dropout without effect.
    """
    module = context.module
    names = [name for name in SWITCHES if hasattr(module, name)]
    if not names or context.method_name != "__call__":
        return call(*args, **kwargs)
    (name,) = names
    if name in kwargs:
        return call(*args, **{**kwargs, name: True})
    before = getattr(module, name)
    object.__setattr__(module, name, True)
    try:
        return call(*args, **kwargs)
    finally:
        object.__setattr__(module, name, before)
