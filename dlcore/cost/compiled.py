"""What XLA says that a model's compiled forward pass costs, beside the count of `dlcore.cost.layers`.

XLA's "flops" are 2 MACs and every elementwise operation besides: activations, normalization, the maxima of poolings,
the sums and exponentials of a softmax. It does not count taps that fall on padding, so a convolution of small maps has
fewer than its formula says, and it counts the body of a `while` or `scan` once, whatever its length. What is handed to
a library as a custom call (cuDNN, cuBLAS) may be counted as nothing. The figures are those of the backend that
compiles: a CPU's program has other fusions, and other temporaries, than an accelerator's.
"""

from typing import Any, NamedTuple

import jax
from flax import linen as nn

from dlcore.cost.layers import Total
from dlcore.cost.module_program import abstract_variables, split_arguments
from dlcore.learner import root_key

__all__ = ["Compiled", "compiled_cost", "compiled_summary"]


class Compiled(NamedTuple):
    """XLA's figures for a compiled program; None where the backend does not say.

    Args:
      platform: the backend, such as "cpu".
      flops: as XLA counts them.
      bytes_accessed: as XLA counts them.
      arguments: bytes of parameters and images.
      temporaries: the most bytes that intermediate results take at once.
      outputs: bytes of the results.
    """

    platform: str
    flops: float | None
    bytes_accessed: float | None
    arguments: int | None
    temporaries: int | None
    outputs: int | None


def compiled_cost(model: nn.Module, x: jax.ShapeDtypeStruct, *args: Any, **kwargs: Any) -> Compiled:
    """Compile `model.apply` on the default backend and read XLA's cost analysis; nothing is run.

    Args:
      model: a flax module.
      x: shape and dtype of the model's first argument.
      *args: further arguments of the model.
      **kwargs: keyword arguments of the model.

    Returns:
      XLA's figures.
    """
    x = jax.ShapeDtypeStruct(x.shape, x.dtype)
    variables, (arrays, rebuild) = abstract_variables(model, x, args, kwargs), split_arguments(args, kwargs)

    def run(variables: Any, arrays: dict, x: jax.Array) -> Any:
        rest, named = rebuild(arrays)
        return model.apply(variables, x, *rest, **named, rngs={"dropout": root_key(0)})

    program = jax.jit(run).lower(variables, arrays, x).compile()
    cost, memory = program.cost_analysis() or {}, program.memory_analysis()
    sizes = (getattr(memory, f"{what}_size_in_bytes", None) for what in ("argument", "temp", "output"))
    return Compiled(jax.default_backend(), cost.get("flops"), cost.get("bytes accessed"), *sizes)


def compiled_summary(compiled: Compiled, macs_total: Total) -> str:
    """Compare XLA's FLOPs with 2 MACs, and say what memory its program takes.

    Args:
      compiled: result of `compiled_cost`.
      macs_total: result of `dlcore.cost.layers.total`.

    Returns:
      Two lines of text.
    """

    def mib(size: int | None) -> str:
        return "unknown" if size is None else f"{size / 2**20:,.1f} MiB"

    if compiled.flops is None:
        flops = "XLA does not say how many FLOPs"
    else:
        excess = compiled.flops / macs_total.flops - 1 if macs_total.flops else float("nan")
        flops = (
            f"XLA counts {compiled.flops / 1e9:.3f} GFLOPs on this {compiled.platform}, {excess:+.1%} against 2 MACs"
        )
    return (
        f"{flops}: elementwise work counts there, taps on padding and all but one turn of a loop do not\n"
        f"its program takes {mib(compiled.arguments)} of parameters and images, {mib(compiled.temporaries)} of "
        f"temporaries at once, {mib(compiled.outputs)} of outputs"
    )
